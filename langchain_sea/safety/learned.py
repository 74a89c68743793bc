"""What models say of a call: whether a text does harm, and whose wish the call fulfils. Knows no rule.

Harm: the embedded gate judges a question with its answer. A text that asks for harm, or brings it, is one to
which a helpful answer is a bad one; so the gate is asked what it thinks of a helpful answer to the text.

Wishes: of the sentences that the user said, and of those that anybody may have written into a tool's result,
which one does the call fulfil? A sentence encoder tells by nearness (arXiv 1908.10084).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding
from langchain_sea.safety.context import strings_in, top
from langchain_sea.safety.deobfuscation import plain_words

if TYPE_CHECKING:
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["HarmCheck", "IntentCheck", "segments"]

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Texts → values, one each, higher where they do harm, from 0 to 1."""
Encoder = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts → unit vectors."""

_WORDS = 3  # fewer say nothing that a model of sentences could judge
_READ = 0.7  # of the words
_SEGMENT, _OVERLAP = 360, 90  # characters: what the embedded gate reads at once
_TOLD = 200


class HarmCheck:
    """The worst segment of every running text, in every form that it can be decoded to.

    Attributes:
        threshold: from which a text is blocked.
    """

    name = "harm"
    learned = True

    def __init__(self, scorer: Scorer, threshold: float, name: str = "harm") -> None:
        """Hold the scorer."""
        self.scorer, self.threshold, self.name = scorer, threshold, name

    def __call__(self, calls: Sequence[ToolCall], scene: CallContext) -> list[list[Finding]]:
        """One objection for every argument; all texts of a batch are read together."""
        parts = [_parts_of(call) for call in calls]
        texts = list(dict.fromkeys(text for found in parts for _, text in found))
        values = _numbers(self.scorer(texts), len(texts)) if texts else []
        worth = dict(zip(texts, values, strict=True))
        return [self._objections(call, found, worth, scene) for call, found in zip(calls, parts, strict=True)]

    def _objections(
        self, call: ToolCall, parts: Sequence[tuple[str, str]], worth: dict[str, float], scene: CallContext
    ) -> list[Finding]:
        policy, worst = scene.policy.of(call.name), dict[str, float]()
        for argument, text in parts:
            worst[argument] = max(worst.get(argument, 0.0), worth[text])
        return [
            Finding(
                action=Action.REPAIR if argument in policy.repairable else Action.BLOCK,
                layer=self.name,
                reason=f"{argument}: its text would do harm ({value:.2f}, {self.threshold:.2f} is allowed)",
                arguments=(argument,),
                score=value,
            )
            for argument, value in worst.items()
            if value >= self.threshold
        ]


class IntentCheck:
    """Whether a call that writes is explained by the user, or by text that anybody may have written.

    Attributes:
        margin: by how much nearer the other text must be.
        least: nearness below which no text explains a call.
        enough: nearness at which the user explains a call, whatever else does.
    """

    name = "wish"
    learned = True

    def __init__(
        self, encoder: Encoder, margin: float = 0.0, least: float = 0.25, enough: float = 0.5
    ) -> None:
        """Hold the encoder."""
        self.encoder, self.margin, self.least, self.enough = encoder, margin, least, enough

    def __call__(self, calls: Sequence[ToolCall], scene: CallContext) -> list[list[Finding]]:
        """One objection to each, or none; all sentences of a batch are read together."""
        writes = [i for i, call in enumerate(calls) if scene.policy.of(call.name).effect == "write"]
        found: list[list[Finding]] = [[] for _ in calls]
        if not writes or not scene.sentences or not scene.asked:
            return found
        said = [part for text in scene.asked for part in _parts(text)] or list(scene.asked)
        vectors = self.encoder([*(_told(calls[i], scene) for i in writes), *said, *scene.sentences])
        texts = vectors[len(writes) :]
        for i, vector in zip(writes, vectors, strict=False):
            near = [sum(a * b for a, b in zip(vector, other, strict=True)) for other in texts]
            found[i] = self._objections(near[: len(said)], near[len(said) :], scene)
        return found

    def _objections(
        self, users: Sequence[float], others: Sequence[float], scene: CallContext
    ) -> list[Finding]:
        """From how near the call is to each sentence of the user's, and to each of the others."""
        user, other = max(users), max(others)
        if other < self.least or user >= self.enough or other <= user + self.margin:
            return []
        culprit = scene.sentences[others.index(other)]
        reason = f"it fulfils what a tool's result asks for, not what the user did: {culprit[:100]!r}"
        return [Finding(action=Action.BLOCK, layer=self.name, reason=reason, score=other - user)]


def _parts_of(call: ToolCall) -> list[tuple[str, str]]:
    """The running texts of its arguments in all their forms, in parts."""
    found = []
    for path, text in strings_in(call.arguments):
        forms = plain_words(text) if path else []
        found += [(top(path), part) for form in forms for part in segments(form) if _says(part)]
    return list(dict.fromkeys(found))


def segments(text: str) -> list[str]:
    """The text in parts that overlap, none longer than a model reads at once."""
    if len(text) <= _SEGMENT:
        return [text]
    return [text[start : start + _SEGMENT] for start in range(0, len(text) - _OVERLAP, _SEGMENT - _OVERLAP)]


def _says(text: str) -> bool:
    """Whether it is running text in the letters that the embedded judge has learned: of others it knows nothing."""
    words = text.split()
    read = sum(word.isascii() and any(map(str.isalpha, word)) for word in words)
    return read >= _WORDS and read >= _READ * len(words)


def _numbers(values: Sequence[float], count: int) -> list[float]:
    """As many finite numbers from 0 to 1 as there are texts.

    Raises:
        ValueError: the scorer gave something else.
    """
    found = [float(value) for value in values]
    if len(found) != count or not all(0 <= value <= 1 for value in found):  # NaN is in no range
        raise ValueError(
            f"the scorer gave {found[:5]} for {count} texts; there must be a number from 0 to 1 for each."
        )
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if len(part.split()) > 2]  # noqa: PLR2004


def _told(call: ToolCall, scene: CallContext) -> str:
    """The call as a sentence."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", call.name).lower()
    values = ", ".join(f"{key}: {value}" for key, value in call.arguments.items())
    return f"{name}. {scene.descriptions.get(call.name, '')[:_TOLD]} {values[:_TOLD]}"
