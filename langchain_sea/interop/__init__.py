"""Judges of other libraries as rewards, for `SEAChatModel(rewards=[…])`.

| judge of              | as a reward here            |
|-----------------------|-----------------------------|
| TRL                   | `from_trl(function)`        |
| openevals, agentevals | `from_openevals(evaluator)` |
| LangSmith             | `from_langsmith(evaluator)` |
| LangChain             | `from_runnable(runnable)`   |

`as_trl(reward)` is the other direction, so that TRL's trainers optimise the reward that refinement uses. The package
imports `core`, `errors` and `rewards.function`, beside LangChain and LangSmith. It knows no model's weights.
"""

from __future__ import annotations

from langchain_sea.interop.evaluators import from_langsmith, from_openevals
from langchain_sea.interop.runnables import from_runnable
from langchain_sea.interop.trl import as_trl, from_trl

__all__ = ["as_trl", "from_langsmith", "from_openevals", "from_runnable", "from_trl"]
