"""Answers for many: an OpenAI-compatible endpoint on Ray Serve, and batches on Ray Data (extra `ray`).

Imports `chat_models`, `budget`, `presets` and `models`; only `cli` imports this package. Scheduling, retries and
back-pressure are Ray's: nothing here knows how an answer is refined.
"""
