"""From refinements to LangChain's messages: the gate's verdict, the report, text, tool calls and chunks.

Knows no network. An answer is the refined text, the draft, or a refusal, as the gate decides.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as content_blocks
from langchain_core.messages.ai import OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_sea.chat.cut_off import describe_limit, find_limit
from langchain_sea.chat.reasoning import split_reasoning
from langchain_sea.chat.tools import read_answer
from langchain_sea.models.template_fallbacks import OPENING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_sea.chat.options import CallOptions
    from langchain_sea.chat.tools import ParsedToolCalls
    from langchain_sea.core.trace import ScoredText
    from langchain_sea.engine.selection import Refinement

    Gate = Callable[[str, list[str]], Sequence[float]]

__all__ = ["REFUSAL", "GatedAnswer", "choose_answer", "gate_texts", "to_chat_result", "to_chunks", "word_chunks"]

REFUSAL = "I can't help with that."
_log = logging.getLogger(__name__)
_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$")
_HAS_REFUSAL_BLOCKS = hasattr(content_blocks, "RefusalContentBlock")  # from langchain-core 1.8 on


class _Reading(NamedTuple):
    """What the text of an answer holds, and how it ended."""

    parsed: ParsedToolCalls
    reasoning: dict[str, Any]  # the reasoning before the text, as additional keyword arguments of a message
    cut_off_by: str | None  # the limit that ended the answer before the model did; see `chat.cut_off`
    finish_reason: str


@dataclass(frozen=True, slots=True)
class GatedAnswer:
    """A refinement and the text that is returned for it.

    Attributes:
        text: the refined text, the draft, or `REFUSAL`.
        prompt_tokens: the prompt's length.
        gate: the gate's verdict as plain JSON; None without a gate.
        logprobs: of the text's tokens, in OpenAI's form.
        draft_model_error: why the external draft was not used.
        failures_in_a_row: how many answers up to this one were not refined because a reward failed.
        max_tokens: how many tokens the model's context left for the answer; None: as many as the call asks for.
        begins_in_thought: whether the prompt ends with the tag that opens the reasoning.
    """

    refinement: Refinement
    text: str
    prompt_tokens: int
    gate: dict[str, Any] | None
    logprobs: list[dict[str, Any]] | None = None
    draft_model_error: str | None = None
    max_tokens: int | None = None
    begins_in_thought: bool = False
    failures_in_a_row: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether the gate rejected both the refined text and the draft."""
        return self.gate is not None and not self.gate["passed"]

    def usage(self) -> UsageMetadata:
        """Return the tokens of prompt and answer, and those computed while drafting and refining."""
        refinement = self.refinement
        details = {"draft": refinement.draft_tokens, "refine": refinement.refine_tokens}
        if refinement.reasoning_tokens:
            details["reasoning"] = refinement.reasoning_tokens
        written = len(refinement.ids) + refinement.reasoning_tokens
        return UsageMetadata(
            input_tokens=self.prompt_tokens,
            output_tokens=written,
            total_tokens=self.prompt_tokens + written,
            output_token_details=cast("OutputTokenDetails", details),
        )

    def report(self) -> dict[str, Any]:
        """Return the refinement as plain JSON; `accepted` is whether its text is the one returned."""
        refinement = self.refinement
        before, after = refinement.before, refinement.after
        return {
            "draft": refinement.draft,
            "score_before": _rounded(before, "score"),
            "score_after": _rounded(after, "score"),
            "rewards_before": dict(before.rewards) if before else None,
            "rewards_after": dict(after.rewards) if after else None,
            "accepted": refinement.accepted and self.text == refinement.text,
            "steps": refinement.steps,
            "seconds": refinement.seconds,
            "draft_seconds": refinement.draft_seconds,
            "plan": refinement.plan,
            "stop_reason": refinement.stop_reason.value,
            "nll_before": _rounded(before, "nll"),
            "nll_after": _rounded(after, "nll"),
            "rejected": refinement.rejected,
            "thresholds_met": None if after is None else after.meets_thresholds,
            "min_gradient_cosine": refinement.min_gradient_cosine,
            "evaluations": refinement.evaluations,
            "failure": None if refinement.failure is None else str(refinement.failure),
            "failures_in_a_row": self.failures_in_a_row,
            "gate": self.gate,
            "draft_model_error": self.draft_model_error,
        }


def gate_texts(
    gate: Gate, threshold: float | None, messages: Sequence[dict[str, Any]], texts: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """Ask the gate about answers to the last question.

    Args:
        gate: returns a score for each text; called as `FunctionReward` calls its function.
        threshold: the lowest score that passes; None uses the gate's own, or 0.5.
        messages: the conversation, in the template's form.
        texts: the answers.

    Returns:
        The texts that pass, and the verdict as plain JSON. A gate that fails passes none.
    """
    from langchain_sea.rewards.function import ask_gate  # noqa: PLC0415 - imports torch

    lowest = getattr(gate, "threshold", 0.5) if threshold is None else threshold
    try:
        scores = ask_gate(gate, messages, texts)
    except Exception as error:  # noqa: BLE001 - a gate is the user's code; the verdict reports its error
        _log.warning("the gate failed, so no answer passes it: %s: %s", type(error).__name__, error, exc_info=error)
        return [], {"passed": False, "scores": [], "error": repr(error)}
    passing = [text for text, score in zip(texts, scores, strict=True) if score >= lowest]
    return passing, {"passed": bool(passing), "scores": scores, "threshold": float(lowest)}


def choose_answer(
    refinement: Refinement,
    prompt_tokens: int,
    gate: Gate | None,
    threshold: float | None,
    messages: Sequence[dict[str, Any]],
) -> GatedAnswer:
    """Return the refined text if the gate passes it, else the draft if that passes, else a refusal."""
    if gate is None:
        return GatedAnswer(refinement, refinement.text, prompt_tokens, None)
    texts = list(dict.fromkeys([refinement.text, refinement.draft]))
    passing, verdict = gate_texts(gate, threshold, messages, texts)
    return GatedAnswer(refinement, passing[0] if passing else REFUSAL, prompt_tokens, verdict)


def to_chat_result(answers: Sequence[GatedAnswer], options: CallOptions, model_name: str) -> ChatResult:
    """Return the answers as messages, with the tokens of all answers in `llm_output`."""
    generations = []
    for answer in answers:
        reading = _read(answer, options)
        message = AIMessage(
            content=_content(answer, reading.parsed.content),
            tool_calls=list(reading.parsed.calls),
            invalid_tool_calls=list(reading.parsed.invalid),
            additional_kwargs=reading.reasoning,
            usage_metadata=answer.usage(),
            response_metadata=_metadata(answer, options, model_name, reading),
        )
        generations.append(ChatGeneration(message=message))
    usages = [answer.usage() for answer in answers]
    total = {
        "input_tokens": sum(usage["input_tokens"] for usage in usages),
        "output_tokens": sum(usage["output_tokens"] for usage in usages),
        "total_tokens": sum(usage["total_tokens"] for usage in usages),
    }
    return ChatResult(generations=generations, llm_output={"token_usage": total})


def word_chunks(text: str) -> Iterator[ChatGenerationChunk]:
    """Yield one chunk for each word; white space goes with the word behind it."""
    for word in _WORD.findall(text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def to_chunks(
    answer: GatedAnswer, options: CallOptions, model_name: str, *, sent: str = ""
) -> Iterator[ChatGenerationChunk]:
    """Yield the reasoning, the words, then the tool calls, then one last chunk with usage and report.

    The words of a refusal are on the last chunk, so that its finish reason says at once what they are.

    Args:
        answer: what is returned.
        options: of the call.
        model_name: for the report.
        sent: the text streamed so far. If the answer does not begin with it, the whole answer follows in a
            new paragraph.
    """
    reading = _read(answer, options)
    parsed, text = reading.parsed, reading.parsed.content
    if reading.reasoning:
        yield ChatGenerationChunk(message=AIMessageChunk(content="", additional_kwargs=reading.reasoning))
    rest = text.removeprefix(sent) if text.startswith(sent) else f"\n\n{text}"
    if not answer.is_refused:
        yield from word_chunks(rest)
    calls = [
        *((call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"]) for call in parsed.calls),
        *((call["name"], _mark_invalid(call["args"] or ""), call["id"]) for call in parsed.invalid),
    ]
    for index, (name, args, call_id) in enumerate(calls):
        chunk = tool_call_chunk(name=name, args=args, id=call_id, index=index)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
    last = AIMessageChunk(
        content=_content(answer, rest) if answer.is_refused else "",
        usage_metadata=answer.usage(),
        response_metadata=_metadata(answer, options, model_name, reading),
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)


def _content(answer: GatedAnswer, text: str) -> str | list[str | dict[str, Any]]:
    """Return the text; a refusal is text and LangChain's block, where there is one, for readers of either."""
    if not (_HAS_REFUSAL_BLOCKS and answer.is_refused):
        return text
    block = {"type": "refusal", "refusal": text.strip(), "extras": {"category": "gate"}}
    return [{"type": "text", "text": text}, block]


def _mark_invalid(args: str) -> str:
    """Return what a stream holds in place of the arguments of an invalid call.

    LangChain reads the arguments of a chunk as JSON and completes what is cut off: whatever is no object at its
    beginning stays an invalid call.
    """
    return args if args and not args.lstrip().startswith("{") else f"{OPENING}{args}"


def _read(answer: GatedAnswer, options: CallOptions) -> _Reading:
    """Return the text with its tool calls, the reasoning before it, and how it ended."""
    limit = None if answer.is_refused else find_limit(answer.text, answer.refinement, options, answer.max_tokens)
    is_open = answer.begins_in_thought and not answer.is_refused
    reasoning_text = None if answer.is_refused else answer.refinement.reasoning
    if reasoning_text is None:
        thought, text = split_reasoning(answer.text, is_open=is_open, is_cut=limit is not None)
    else:
        thought, text = split_reasoning(reasoning_text, is_open=is_open)[0], answer.text.lstrip()
    cut_off = None if limit is None else describe_limit(limit)
    parsed = read_answer(text, options.visible_tools, choice=options.tool_choice, cut_off=cut_off)
    if options.takes_one_call:
        parsed = replace(parsed, calls=parsed.calls[:1])
    reasoning = {} if thought is None else {"reasoning_content": thought}
    return _Reading(parsed, reasoning, limit, _finish_reason(answer, parsed, limit))


def _finish_reason(answer: GatedAnswer, parsed: ParsedToolCalls, limit: str | None) -> str:
    if answer.is_refused:
        return "content_filter"
    if limit is not None and not limit.startswith("stop="):
        return "length"  # also of an answer with calls: more of them may have been cut off
    return "tool_calls" if parsed.calls else "stop"


def _metadata(answer: GatedAnswer, options: CallOptions, model_name: str, reading: _Reading) -> dict[str, Any]:
    logprobs = {} if answer.logprobs is None else {"logprobs": {"content": answer.logprobs}}
    call = {"seed": options.seed, "preset": options.preset.name, "cut_off_by": reading.cut_off_by}
    return logprobs | {
        "model_name": model_name,
        "model_provider": "sea",
        "finish_reason": reading.finish_reason,
        "sea": answer.report() | call,
    }


def _rounded(scored: ScoredText | None, name: str) -> float | None:
    return None if scored is None else round(float(getattr(scored, name)), 6)
