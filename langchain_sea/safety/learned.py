"""Checks that a model judges: whether a text would do harm, and whose wish a call fulfils. Knows no rule.

Harm: a safety classifier judges a question together with an answer. A text is harmful if a helpful answer to it would
be, so the classifier judges a helpful answer to the text.

Intent: which sentence does the call fulfil, one that the user wrote, or one of untrusted text in a tool's result? A
sentence encoder decides by cosine similarity (Sentence-BERT, arXiv 1908.10084).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding
from langchain_sea.safety.text.deobfuscation import decode_words
from langchain_sea.safety.text.tool_effects import names_directive
from langchain_sea.safety.text.values import get_argument, list_strings, to_snake_case

if TYPE_CHECKING:
    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["HarmCheck", "IntentCheck", "split_segments"]

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Texts → one value each from 0 to 1, higher where the text does harm."""
Encoder = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts → one unit vector each."""

_MIN_WORDS = 3  # a model of sentences cannot judge fewer
_MIN_READABLE = 0.7  # share of words in Latin letters
_SEGMENT, _OVERLAP = 360, 90  # characters: the embedded classifier reads one segment at a time
_MAX_QUOTED = 60  # characters of a text in a reason
_MAX_SENTENCES = 64  # that are encoded for one batch
_MAX_DESCRIBED = 200  # characters of a tool's description, and of the arguments


def _prepare(model: object) -> None:
    """Let a model read its weights, if it says how."""
    if prepare := getattr(model, "prepare", None):
        prepare()


class HarmCheck:
    """Scores the most harmful segment of each text argument, in every form that it decodes to.

    Attributes:
        scorer: the model.
        threshold: score from which a text is in doubt: it is repaired where the rules allow it, else a human is asked.
        name: in findings and in the audit log.
    """

    name = "harm"
    uses_model = True

    def __init__(self, scorer: Scorer, threshold: float, name: str = "harm") -> None:
        """Hold the scorer."""
        self.scorer, self.threshold, self.name = scorer, threshold, name

    def prepare(self) -> None:
        """Read the model's weights, if it has not read them; the time of this is no batch's."""
        _prepare(self.scorer)

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return one finding for each harmful argument; all texts of a batch are scored together."""
        segments = [_list_segments(call) for call in calls]
        texts = list(dict.fromkeys(text for pairs in segments for _, text in pairs))
        values = _check_scores(self.scorer(texts), len(texts)) if texts else []
        scores = dict(zip(texts, values, strict=True))
        return [self._list_findings(call, pairs, scores, context) for call, pairs in zip(calls, segments, strict=True)]

    def _list_findings(
        self, call: ToolCall, segments: Sequence[tuple[str, str]], scores: dict[str, float], context: CallContext
    ) -> list[Finding]:
        rules, worst = context.policy.rules_for(call.name), dict[str, tuple[float, str]]()
        for argument, text in segments:
            worst[argument] = max(worst.get(argument, (0.0, "")), (scores[text], text))
        return [
            Finding(
                action=Action.REPAIR if argument in rules.repairable else Action.ASK,
                check=self.name,
                reason=f"{argument}: {text[:_MAX_QUOTED]!r} looks harmful (score {_show(score, self.threshold)})",
                arguments=(argument,),
                score=score,
            )
            for argument, (score, text) in worst.items()
            if score >= self.threshold
        ]


class IntentCheck:
    """Asks about a writing call that untrusted text explains better than the user's messages do.

    Attributes:
        encoder: the model.
        margin: by how much more similar the untrusted text must be.
        least: similarity below which no text explains a call.
        enough: similarity at which the user explains a call, whatever else does.
    """

    name = "wish"
    uses_model = True

    def __init__(self, encoder: Encoder, margin: float = 0.0, least: float = 0.25, enough: float = 0.5) -> None:
        """Hold the encoder."""
        self.encoder, self.margin, self.least, self.enough = encoder, margin, least, enough

    def prepare(self) -> None:
        """Read the model's weights, if it has not read them; the time of this is no batch's."""
        _prepare(self.encoder)

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return at most one finding for each call; all sentences of a batch are encoded together."""
        writes = [i for i, call in enumerate(calls) if context.effect_of(call.name) == "write"]
        findings: list[list[Finding]] = [[] for _ in calls]
        untrusted = _select_directives([calls[i] for i in writes], context)
        if not writes or not untrusted or not context.user_texts:
            return findings
        requests = [part for text in context.user_texts for part in _split_sentences(text)]
        requests = requests or list(context.user_texts)
        described = [_describe_call(calls[i], context) for i in writes]
        vectors = self.encoder([*described, *requests, *untrusted])
        sentence_vectors = vectors[len(writes) :]
        for i, vector in zip(writes, vectors, strict=False):
            similarities = [sum(a * b for a, b in zip(vector, v, strict=True)) for v in sentence_vectors]
            user, other = similarities[: len(requests)], similarities[len(requests) :]
            findings[i] = self._list_findings(user, other, untrusted)
        return findings

    def _list_findings(self, user: Sequence[float], other: Sequence[float], untrusted: Sequence[str]) -> list[Finding]:
        """Compare the call's similarity to the user's sentences with that to the untrusted ones."""
        best_user, best_other = max(user), max(other)
        if best_other < self.least or best_user >= self.enough or best_other <= best_user + self.margin:
            return []
        sentence = untrusted[other.index(best_other)]
        reason = f"it fulfils what a tool's result asks for, not what the user asked for: {sentence[:100]!r}"
        return [Finding(action=Action.ASK, check=self.name, reason=reason, score=best_other - best_user)]


def _show(score: float, threshold: float) -> str:
    """Write a score and its threshold with as many digits as tell them apart."""
    digits = next((n for n in range(2, 9) if f"{score:.{n}f}" != f"{threshold:.{n}f}"), 9)
    return f"{score:.{digits}f}, the limit is {threshold:.{digits}f}"


def _select_directives(calls: Sequence[ToolCall], context: CallContext) -> list[str]:
    """Return the untrusted sentences that tell somebody to act: of many, those with most words of the calls.

    A report of what was done asks for nothing, and a long inbox must not take longer than the deadline.
    """
    sentences = [text for text in context.untrusted_sentences if names_directive(text)]
    if len(sentences) <= _MAX_SENTENCES:
        return sentences
    words = {word for call in calls for word in _describe_call(call, context).casefold().split()}
    return heapq.nlargest(_MAX_SENTENCES, sentences, key=lambda text: len(words & set(text.casefold().split())))


def split_segments(text: str) -> list[str]:
    """Split the text into overlapping parts, none longer than the embedded classifier reads at once."""
    if len(text) <= _SEGMENT:
        return [text]
    return [text[start : start + _SEGMENT] for start in range(0, len(text) - _OVERLAP, _SEGMENT - _OVERLAP)]


def _list_segments(call: ToolCall) -> list[tuple[str, str]]:
    """List (argument, segment) of the running texts in the arguments, in all their forms."""
    segments = [
        (get_argument(path), segment)
        for path, text in list_strings(call.arguments)
        if path
        for form in decode_words(text)
        for segment in split_segments(form)
        if _is_readable(segment)
    ]
    return list(dict.fromkeys(segments))


def _is_readable(text: str) -> bool:
    """Return whether it is running text in Latin letters; the embedded classifier was trained on no others."""
    words = text.split()
    num_readable = sum(word.isascii() and any(map(str.isalpha, word)) for word in words)
    return num_readable >= _MIN_WORDS and num_readable >= _MIN_READABLE * len(words)


def _check_scores(values: Sequence[float], count: int) -> list[float]:
    """Return the scores, once they are as many finite numbers from 0 to 1 as there are texts.

    Raises:
        ValueError: the scorer returned something else.
    """
    scores = [float(value) for value in values]
    if len(scores) != count or not all(0 <= score <= 1 for score in scores):  # NaN is in no range
        raise ValueError(
            f"the scorer returned {scores[:5]} for {count} texts; it must return a number from 0 to 1 for each."
        )
    return scores


def _split_sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])\s+|\n+", text)
    return [part.strip() for part in parts if len(part.split()) >= _MIN_WORDS]


def _describe_call(call: ToolCall, context: CallContext) -> str:
    """Write the call as a sentence."""
    name = to_snake_case(call.name).replace("_", " ").lower()
    values = ", ".join(f"{key}: {value}" for key, value in call.arguments.items())
    description = context.descriptions.get(call.name, "")
    return f"{name}. {description[:_MAX_DESCRIBED]} {values[:_MAX_DESCRIBED]}"
