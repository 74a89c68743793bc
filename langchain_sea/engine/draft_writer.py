"""The draft of one prompt: the policy's own answer, its reasoning, and the answers beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_sea.engine.ops import GenerationInput
from langchain_sea.engine.reasoning import split_ids, write_reasoned_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.core.protocols import GenerationState, Prompt
    from langchain_sea.engine.candidates import Candidates
    from langchain_sea.engine.companions import Companions
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.reasoning import ReasoningConfig

__all__ = ["DraftWriter"]


@dataclass
class DraftWriter:
    """Writes the policy's own answers to one prompt; nothing but the call's limit cuts them.

    Attributes:
        prompt: the prompt; after reasoning, with the reasoning in it.
        drafter: writes, and holds the tracker of the budget.
        candidates: note which answers a limit cut.
        reasoning: how the policy marks reasoning; None takes it for a part of the answer.
        companions: answers that are written beside the draft. None: there are none, they would take too long, or the
            draft has reasoning.
        reasoning_ids: of the draft.
    """

    prompt: Prompt
    drafter: Drafter
    candidates: Candidates
    reasoning: ReasoningConfig | None = None
    companions: Companions | None = None
    reasoning_ids: Answer = field(init=False, default_factory=list)
    _is_before_draft: bool = field(init=False, default=False)
    _written: Answer = field(init=False, default_factory=list)  # of a draft that is written in two parts, the first

    def write_drafts(self, count: int) -> RequestSteps[list[Answer]]:
        """Return so many drafts, which are written together; only the first has its own reasoning."""
        if self.companions is not None and not self.companions.is_affordable:
            self.companions = None
        if self.companions is not None:
            self._is_before_draft = True
            yield from self.companions.begin(self.prompt)
            self._is_before_draft = False
        if self.reasoning is None:
            drafts, _ = yield from self.write_answers(count, self.companions)
            return drafts
        first = yield from self._write_reasoned_answer(self.reasoning)
        if count == 1:
            return [first]
        more, _ = yield from self.write_answers(count - 1)
        return [first, *more]

    def write_answers(
        self, count: int, companions: Companions | None = None
    ) -> RequestSteps[tuple[list[Answer], list[bool]]]:
        """Return plain answers, and whether each ended by itself; the companions are continued beside them."""
        longest = self.drafter.tracker.max_new_tokens
        written, unfinished = yield from self._write_beside([[] for _ in range(count)], longest, companions)
        for ids, goes_on in zip(written, unfinished, strict=True):
            if goes_on:
                self.candidates.note_cut(ids)
        return written, [not goes_on for goes_on in unfinished]

    def _write_beside(
        self, answers: Sequence[Answer], tokens: int, companions: Companions | None
    ) -> RequestSteps[tuple[list[Answer], list[bool]]]:
        """Continue answers, and companions until these have ended; return the new ids, and whether each goes on."""
        inputs = [GenerationInput(self.prompt, answers)]
        if companions is not None and companions.answers:
            inputs.append(companions.next_input(self.prompt))
        written = yield from self.drafter.write(inputs, tokens, ends_with_first=True)
        if companions is not None and len(inputs) > 1:
            companions.extend(written.answers[1], written.unfinished[1])
        return written.answers[0], written.unfinished[0]

    def partial_draft(self, generations: Sequence[GenerationState] | None) -> Answer | None:
        """Return the beginning of the draft while it is being written; None if it was not begun."""
        if not generations or self._is_before_draft:
            return None
        draft = [*self._written, *generations[0].written[0]]
        if self.reasoning is not None:
            self.reasoning_ids, draft = split_ids(draft, self.reasoning)
        self.candidates.cut_texts.add(self.candidates.decode(draft))
        return draft

    def _write_reasoned_answer(self, config: ReasoningConfig) -> RequestSteps[Answer]:
        """Let the policy think and answer; the prompt then holds its reasoning."""
        tracker = self.drafter.tracker
        longest = tracker.max_new_tokens
        reasoning, answer, has_ended = yield from write_reasoned_answer(self._write_on, config, longest)
        self.reasoning_ids, self._written = reasoning, []
        if reasoning:
            self.companions = None  # they were written without it
            self.prompt = config.extend(reasoning)
            tracker.max_new_tokens = max(1, longest - len(reasoning))
        if not has_ended:
            self.candidates.note_cut(answer)
        return answer

    def _write_on(self, ids: Answer, tokens: int) -> RequestSteps[tuple[Answer, bool]]:
        """Continue an answer; return the new ids, and whether the policy ended it."""
        self._written = ids
        (new_ids,), (goes_on,) = yield from self._write_beside([ids], tokens, None if ids else self.companions)
        return new_ids, not goes_on
