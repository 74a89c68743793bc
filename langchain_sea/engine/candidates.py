"""Answers as the policy's ids, which are offered as texts. Knows no search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.engine.drafting import end_at_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.trace import ScoredText
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.selection import BestSoFar

__all__ = ["Candidates"]


class Candidates:
    """The answers that were offered for one prompt.

    Attributes:
        best: scores texts and keeps the best.
        cut_texts: the answers that a limit cut.
    """

    def __init__(self, best: BestSoFar, stop: Sequence[str]) -> None:
        """Begin without any.

        Args:
            best: scores texts and keeps the best.
            stop: an answer ends before the first of these strings.
        """
        self.best, self.cut_texts = best, set[str]()
        self._stop = tuple(stop)
        self._ids: dict[str, Answer] = {}

    def decode(self, ids: Answer) -> str:
        """Return the text of an answer, which ends before the first stop string."""
        return self._read(ids)[0]

    def _read(self, ids: Answer) -> tuple[str, bool]:
        """Return the text of an answer, and whether a stop string ends it before its last id does."""
        text = self.best.energy.policy.decode(ids)
        ends = [at for string in self._stop if (at := text.find(string)) >= 0]
        return text[: min(ends, default=len(text))], bool(ends)

    def note_cut(self, ids: Answer) -> None:
        """Note that a limit cut an answer, unless a stop string ended it before."""
        text, has_stop = self._read(ids)
        if not has_stop:
            self.cut_texts.add(text)

    def offer(self, answers: Sequence[Answer]) -> RequestSteps[list[ScoredText]]:
        """Score answers and keep the best; the first one ever is the draft."""
        texts = [self.decode(ids) for ids in answers]
        self._ids.update(zip(texts, answers, strict=True))
        return (yield from self.best.offer(texts))

    def offer_shortened(self, answers: Sequence[Answer], is_cut: Sequence[bool]) -> RequestSteps[None]:
        """Offer answers; those that the limit on their length cut are shortened to their last whole sentence."""
        texts, has_limits = [], self.best.energy.limits is not None
        for ids, has_reached_limit in zip(answers, is_cut, strict=True):
            text, has_stop = self._read(ids)
            cut, whole = has_reached_limit and not has_stop, text
            if cut and has_limits:
                shortened = end_at_sentence(text)
                if shortened is None:
                    continue
                text = shortened
            if text not in self._ids:
                self._ids[text] = self._shorten_ids(ids, text) if has_stop or text != whole else ids
                if cut:  # what could have ended by itself is whole
                    self.cut_texts.add(text)
            texts.append(text)
        yield from self.best.offer(texts)

    def _shorten_ids(self, ids: Answer, text: str) -> Answer:
        """Return ids of the beginning of an answer: its own as far as they go, since the policy has read them."""
        policy = self.best.energy.policy
        for count in range(len(ids), 0, -1):
            beginning = policy.decode(ids[:count])
            if text.startswith(beginning):
                shortened = [*ids[:count], *policy.encode(text[len(beginning) :])]
                return shortened if policy.decode(shortened) == text else policy.encode(text)
        return policy.encode(text)

    def best_ids(self) -> Answer:
        """Return the ids of the best answer so far."""
        assert self.best.best is not None
        return self._ids[self.best.best.text]
