"""`SEARepairer`: other texts for a stopped call, written within the tool's own schema and refined by rewards.

Only the arguments that the tool's policy names as repairable are written anew; all else is copied. Whatever comes of
it goes through every layer again, and through a verifier that nothing here is optimised against.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_sea.budget import Budget
from langchain_sea.chat_models import SEAChatModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.calls import Call
    from langchain_sea.safety.scene import Scene

__all__ = ["SEARepairer"]

_SHOWN = 400  # characters of what is to be replaced
_ASK = (
    "A message was stopped because it could hurt somebody:\n{before}\n\nWrite a short, polite and harmless text to "
    "stand in its place, which says that you cannot help with this."
)


def _model() -> SEAChatModel:
    return SEAChatModel(budget=Budget(tokens=48, seconds=8.0, steps=2))


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
        self, call: Call, arguments: Sequence[str], reason: str, scene: Scene, attempt: int
    ) -> Call | None:
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
