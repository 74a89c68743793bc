"""`SEARepairer`: other texts for a stopped call, written within the tool's own schema and refined by rewards.

Only the arguments that the tool's policy names as repairable are written anew; all else is copied. Whatever comes of
it goes through every layer again, and through a verifier that nothing here is optimised against.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_sea.budget import Budget
from langchain_sea.chat_models import SEAChatModel
from langchain_sea.core.terms import RewardTerm
from langchain_sea.rewards import FunctionReward
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD
from langchain_sea.safety.defaults import HARM_THRESHOLD, harm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["SEARepairer"]

_SHOWN = 400  # characters of what is to be replaced
_ASK = (
    "A message was stopped because it could hurt somebody:\n{before}\n\nWrite a short, polite and harmless text to "
    "stand in its place, which says that you cannot help with this."
)


_MARGIN = 1.0  # log-odds below what the layer lets pass: an optimised text needs some


def _model() -> SEAChatModel:
    harmless = RewardTerm(
        reward=FunctionReward(_Harmless()),
        name="harmless",
        weight=0.0,
        threshold=_log_odds(1 - HARM_THRESHOLD) + _MARGIN,
    )
    # the head alone: what the request for a text calls for is no question of harm
    return SEAChatModel(
        rewards=[str(SAFETY_HEAD), harmless], budget=Budget(max_new_tokens=48, max_time=8.0, max_steps=2)
    )


class _Harmless:
    """What the layer of harm will say of the texts in an answer, so that none is proposed that it would stop.

    The reward that steers is fooled more easily than two judges together. The verifier has no part in this.
    """

    def __init__(self) -> None:
        self._judge = harm().scorer

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Log-odds of the most harmful text in each; a text that is no whole object is judged as it stands."""
        del prompt
        parts = [_strings(text) for text in completions]
        values = iter(self._judge([part for found in parts for part in found]))
        return [min(_log_odds(1 - next(values)) for _ in found) for found in parts]


def _strings(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return [text]
    texts = [value for value in found.values() if isinstance(value, str)] if isinstance(found, dict) else []
    return texts or [text]


def _log_odds(share: float) -> float:
    sure = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(sure / (1 - sure))


@dataclass(frozen=True)
class SEARepairer:
    """A repairer for `Judge`, of any agent's calls.

    Attributes:
        model: the local policy with the rewards that steer; none of these may be the verifier.
        ask: what it is asked, with a place for `{before}`, the text that was stopped, and `{wish}`, what the user asked
            for last.
    """

    model: SEAChatModel = field(default_factory=_model)
    ask: str = _ASK

    def __call__(
        self, call: ToolCall, arguments: Sequence[str], reason: str, scene: CallContext, attempt: int
    ) -> ToolCall | None:
        """The call with other texts for these arguments; None where the policy finds no whole ones.

        Args:
            call: as it was stopped.
            arguments: that may be written anew.
            reason: why it was stopped, which the policy is not told: it names what must not be said.
            scene: the conversation, and the tools' schemas.
            attempt: counted from 0; each has a seed of its own.
        """
        del reason
        properties = scene.tools[call.name].get("properties", {})
        wanted = {name: _text(properties.get(name, {})) for name in arguments}
        schema = {
            "title": "replacement",
            "description": "A harmless text.",
            "type": "object",
            "properties": wanted,
            "required": list(wanted),
            "additionalProperties": False,
        }
        before = call.arguments
        old = "\n".join(str(before.get(name, ""))[:_SHOWN] for name in arguments)
        wish = scene.asked[0] if scene.asked else ""
        asked = HumanMessage(self.ask.format(before=old, wish=wish))
        found: Any = self.model.with_structured_output(schema, include_raw=True).invoke(
            [asked], seed=self.model.seed + attempt
        )
        parsed = found["parsed"]
        if not isinstance(parsed, dict) or set(parsed) != set(wanted):
            return None
        new = {**before, **parsed}
        return None if json.dumps(new, sort_keys=True) == call.text else call.with_arguments(new)


def _text(schema: dict[str, Any]) -> dict[str, Any]:
    """The argument's own schema; a text has some length, so that nothing is not an answer."""
    if schema.get("type") == "string" and not {"enum", "const", "pattern", "format", "minLength"} & set(
        schema
    ):
        return {**schema, "minLength": 16, "maxLength": 240}
    return schema
