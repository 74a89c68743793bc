"""The parts of `SEAChatModel`: its settings, one call from messages to answers, tools and structured output.

May import every package below it: models, engine, rewards, presets and what they build on.
Does not know `SEAChatModel` itself, agents, servers or the command line.
"""
