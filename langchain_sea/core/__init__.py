"""The problem that is solved: energy, reward terms, protocols of policies and rewards, and the trace of a solution.

Imports torch, `errors` and `sampling`. It knows no model, no reward and no chat message but template dicts.
"""
