"""Local language models: loading their weights, prompts, batched forward passes, and generation.

May import `errors`, `sampling`, `core`, `budget`, `presets` and `engine`, and is the only package below the rewards
that uses `transformers`. Knows no rewards, no safety checks and no LangChain.
"""
