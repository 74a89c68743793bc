"""`SEARepairer`: writes other texts for a stopped call, within the tool's schema and refined by rewards.

Only the arguments that the tool's rules name as repairable are rewritten; all others are copied. The repaired call
passes every check again, and a verifier that nothing here is optimized against.
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
from langchain_sea.engine.drafting import end_at_sentence
from langchain_sea.rewards import FunctionReward
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD
from langchain_sea.safety.defaults import HARM_THRESHOLD, make_harm_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import LanguageModelInput

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["SEARepairer"]

_MAX_OLD_TEXT = 400  # characters of the stopped text in the prompt
_PROMPT = (
    "Somebody asked for this:\n{before}\n\nIt could hurt people. Write one polite sentence that says you cannot help "
    "with it."
)
_MARGIN = 1.0  # log-odds below the check's threshold: an optimized text needs some distance
_MIN_LENGTH, _MAX_LENGTH = 16, 240  # characters of a new text
_FIXED = {"enum", "const", "pattern", "format"}
_CONSTRAINTS = {*_FIXED, "minLength", "maxLength"}


def _make_model() -> SEAChatModel:
    harmless = RewardTerm(
        reward=FunctionReward(_HarmlessReward()),
        name="harmless",
        weight=0.0,
        threshold=_log_odds(1 - HARM_THRESHOLD) + _MARGIN,
    )
    # the safety head alone: whether the prompt should be refused is not in question here
    return SEAChatModel(rewards=[str(SAFETY_HEAD), harmless], budget=Budget(max_time=8.0, max_steps=2), max_tokens=48)


class _HarmlessReward:
    """Scores an answer's texts as the harm check will, so that no text is proposed that the check would stop.

    The reward that guides the search is fooled more easily than two classifiers together. The verifier is not used.
    """

    def __init__(self) -> None:
        self._scorer = make_harm_check().scorer

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return the log-odds that the most harmful text of each answer is harmless."""
        del prompt
        texts = [_list_texts(completion) for completion in completions]
        scores = iter(self._scorer([text for group in texts for text in group]))
        return [min(_log_odds(1 - next(scores)) for _ in group) for group in texts]


def _list_texts(completion: str) -> list[str]:
    """Return the string values of a JSON object; a completion that is none, such as a part of one, as it is."""
    try:
        value = json.loads(completion)
    except ValueError:
        return [completion]
    texts = [text for text in value.values() if isinstance(text, str)] if isinstance(value, dict) else []
    return texts or [completion]


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


@dataclass(frozen=True)
class SEARepairer:
    """A repairer for `GuardPipeline`, for the calls of any agent.

    Attributes:
        model: a local model, with the rewards that guide the search; none of them may be the verifier.
        prompt: template of the model's prompt, with a place for `{before}`, the stopped text, and optionally for
            `{wish}`, the user's newest message.
    """

    model: SEAChatModel = field(default_factory=_make_model)
    prompt: str = _PROMPT

    def __call__(
        self, call: ToolCall, arguments: Sequence[str], reason: str, context: CallContext, attempt: int
    ) -> ToolCall | None:
        """Return the call with other texts for these arguments; None where the model writes no complete ones.

        Args:
            call: the stopped call.
            arguments: that may be rewritten. A string without constraints is written as a plain answer: with the
                schema in its prompt, a small model copies words of it. The others are written to their schema.
            reason: why the call was stopped. The model does not see it: it names what must not be said.
            context: the conversation, and the tools' schemas.
            attempt: counted from 0; each has its own seed.
        """
        del reason
        schemas = {name: context.tools[call.name].get("properties", {}).get(name, {}) for name in arguments}
        plain = [name for name, schema in schemas.items() if _is_plain_text(schema)]
        others = {name: schema for name, schema in schemas.items() if name not in plain}
        texts = self._write_texts(plain, call, context, attempt)
        values = self._write_values(others, call, context, attempt) if len(texts) == len(plain) else {}
        if {*texts, *values} != set(arguments):
            return None
        new_call = call.with_arguments({**call.arguments, **texts, **values})
        return None if new_call.text == call.text else new_call

    def _write_texts(self, names: Sequence[str], call: ToolCall, context: CallContext, attempt: int) -> dict[str, str]:
        """Return a text that ends with a sentence for each argument for which the model writes one."""
        if not names:
            return {}
        inputs: list[LanguageModelInput] = [[self._make_message([name], call, context)] for name in names]
        answers = self.model.batch(inputs, seed=self.model.seed + attempt)
        texts = [end_at_sentence(answer.text.strip()[:_MAX_LENGTH]) for answer in answers]
        return {
            name: text for name, text in zip(names, texts, strict=True) if text is not None and len(text) >= _MIN_LENGTH
        }

    def _write_values(
        self, schemas: dict[str, dict[str, Any]], call: ToolCall, context: CallContext, attempt: int
    ) -> dict[str, Any]:
        """Return values of these schemas; none where the model does not complete them."""
        if not schemas:
            return {}
        structured = self.model.with_structured_output(_make_schema(schemas), include_raw=True)
        message = self._make_message(list(schemas), call, context)
        answer: Any = structured.invoke([message], seed=self.model.seed + attempt)
        return answer["parsed"] if isinstance(answer["parsed"], dict) else {}

    def _make_message(self, names: Sequence[str], call: ToolCall, context: CallContext) -> HumanMessage:
        """Return the prompt for new values of these arguments."""
        before = "\n".join(str(call.arguments.get(name, ""))[:_MAX_OLD_TEXT] for name in names)
        wish = context.user_texts[0] if context.user_texts else ""
        return HumanMessage(self.prompt.format(before=before, wish=wish))


def _is_plain_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" and not _CONSTRAINTS & set(schema)


def _make_schema(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Build the schema of the new values; a string is not empty."""
    return {
        "title": "replacement",
        "description": "A harmless text.",
        "type": "object",
        "properties": {
            name: {"minLength": 1, **schema} if schema.get("type") == "string" and not _FIXED & set(schema) else schema
            for name, schema in properties.items()
        },
        "required": list(properties),
        "additionalProperties": False,
    }
