"""The search: drafts, chains, blocks of long answers, the best text, and the scheduler of all requests.

Imports `core`, `sampling`, `budget` and `presets`.
It knows policies and rewards by their protocols only, and no LangChain.
"""
