"""Checks of what users pass to `refine` and `search`. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy

__all__ = ["require_arguments"]

_EXAMPLE = 'refine([policy.prompt([{"role": "user", "content": "What is 14 + 23?"}])], energy=make_energy(policy))'


def require_arguments(prompts: object, energy: object, budget: object, drafts: object = None) -> None:
    """Check the types of the arguments, before anything is computed.

    Args:
        prompts: a sequence of what `policy.prompt` returns.
        energy: what `make_energy` returns.
        budget: a `Budget` or None.
        drafts: for each prompt a list of answers, each a list of token ids; or None.

    Raises:
        TypeError: one has another type; the message has an example.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or _is_prompt(prompts):
        raise TypeError(f"prompts={prompts!r:.200} is no list of prompts; for example {_EXAMPLE}.")
    for prompt in prompts:
        if not _is_prompt(prompt):
            raise TypeError(f"{prompt!r:.200} is no prompt: let the policy write it, as in {_EXAMPLE}.")
    if not isinstance(energy, Energy):
        raise TypeError(f"energy={energy!r:.200} is no energy: pass what make_energy returns, as in {_EXAMPLE}.")
    if not isinstance(budget, Budget | None):
        raise TypeError(f"budget={budget!r:.200} is no budget; for example budget=Budget(max_time=10.0).")
    for answers in drafts if isinstance(drafts, Sequence) else ():
        if isinstance(answers, str) or any(isinstance(answer, str) for answer in answers):
            raise TypeError(
                f"drafts={drafts!r:.200} holds text: pass for each prompt a list of answers, each a list of token ids; "
                'for example drafts=[[policy.encode("14 + 23 = 37.")]].'
            )


def _is_prompt(value: Any) -> bool:  # noqa: ANN401 - whatever a user passed
    """Return whether a policy has made it: prompts have no class in common."""
    return hasattr(value, "key") and hasattr(value, "messages")
