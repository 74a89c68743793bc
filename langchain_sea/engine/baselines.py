"""Search without a gradient: what a refinement must beat. Each method is a frozen value for `search`.

All stop at their budget. For self-consistency take `BestOfN` with `rewards.Consensus` as a reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from langchain_sea.engine.ops import ForwardOp
from langchain_sea.engine.search import Search, search

if TYPE_CHECKING:
    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.search import SearchRequest

__all__ = ["BestOfN", "ChunkBeam", "PrefixSearch", "QAlign", "RandomEdits", "RewardGuided", "Search", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """Sample whole answers and keep the best.

    Attributes:
        count: of answers; None samples until the budget is used up.
        rows: answers that are sampled together.
        temperature: of sampling.
    """

    count: int | None = None
    rows: int = 16
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Sample batch after batch."""
        num_left = math.inf if self.count is None else self.count
        while num_left > 0 and not request.is_exhausted:
            size = int(min(num_left, self.rows))
            yield from request.finish([[] for _ in range(size)])
            num_left -= size


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSearch:
    """Sample many short prefixes, and continue the best by the rewards' value; repeat until the budget is used up.

    Attributes:
        rows: prefixes.
        tokens: of each prefix.
        num_kept: prefixes that are continued.
        continuations: of each of those.
        temperature: of sampling.
    """

    rows: int = 128
    tokens: int = 8
    num_kept: int = 8
    continuations: int = 2
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Sample, rank, continue. The draft is the first prefix, continued whatever its rank."""
        while not request.is_exhausted:
            prefixes, _ = yield from request.write([[] for _ in range(self.rows)], self.tokens)
            best = (yield from request.rank(prefixes))[: self.num_kept]
            draft = [] if request.scores else prefixes[:1]
            rows = [*draft, *(ids for ids in best for _ in range(self.continuations))]
            yield from request.finish(rows or [[]])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBeam:
    """Beam search over chunks of tokens, by the rewards' value (CBS, arXiv 2405.19262).

    Attributes:
        beams: that are kept.
        width: continuations of each beam.
        chunk: tokens of each continuation.
        temperature: of sampling.
    """

    beams: int = 4
    width: int = 4
    chunk: int = 8
    temperature: float = 0.8

    @property
    def rows(self) -> int:
        """The number of continuations."""
        return self.beams * self.width

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Search beam after beam. The draft is the first answer that ends."""
        while not request.is_exhausted:
            yield from self._search_once(request)

    def _search_once(self, request: SearchRequest) -> RequestSteps[None]:
        beams: list[Answer] = [[] for _ in range(self.beams)]
        finished_answers: list[Answer] = []
        length = 0
        while beams and length < request.max_new_tokens:
            prefixes = [ids for ids in beams for _ in range(self.width)]
            continued, is_cut = yield from request.write(prefixes, self.chunk)
            if is_cut and request.scores:
                return
            length = min(length + self.chunk, request.max_new_tokens)
            ranked = (yield from request.rank(continued))[: self.beams]
            finished_answers += [ids for ids in ranked if len(ids) < length]
            beams = [ids for ids in ranked if len(ids) >= length]
        yield from request.offer(finished_answers + beams or [[]])  # the policy may write nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardGuided:
    """Of the policy's likeliest next tokens take the one of the lowest energy (ARGS, arXiv 2402.01694).

    Attributes:
        top: candidates at each position.
        rows: ignored, since one answer is written.
        temperature: of sampling, where no token could be ranked.
    """

    top: int = 10
    rows: int = 1
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Write one answer of full length; end tokens are not among the candidates."""
        policy, ids = request.energy.policy, list[int]()
        while len(ids) < request.max_new_tokens and not request.is_exhausted:
            output = yield ForwardOp(policy, request.prompt, [[*ids, 0]])
            here = torch.tensor([[*ids, 0]], device=policy.device)
            candidates = output.candidates(here, self.top + 1, policy.banned)[0][0, -1, 1:].tolist()
            ids = (yield from request.rank([[*ids, token] for token in candidates]))[0]
        if not ids:
            ids = (yield from request.write([[]], request.max_new_tokens))[0][0]
        yield from request.offer([ids])


@dataclass(frozen=True, slots=True, kw_only=True)
class QAlign:
    """Metropolis-Hastings over answers, whose proposals rewrite a suffix (QAlign, arXiv 2504.03790).

    A position is drawn uniformly, and the policy continues from there. The new answer is accepted with
    probability min(1, exp((E − E′) / `heat`) · |y| / |y′|).

    Attributes:
        rows: chains.
        heat: the temperature of the target distribution.
        temperature: of sampling.
    """

    rows: int = 8
    heat: float = 0.3
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Run the chains until the budget is used up."""
        states = yield from request.finish([[] for _ in range(self.rows)])
        while not request.is_exhausted:
            positions = [int(request.random() * max(1, len(ids))) for ids in states]
            prefixes = [ids[:position] for ids, position in zip(states, positions, strict=True)]
            proposals = yield from request.finish(prefixes)
            states = [self._next_state(request, a, b) for a, b in zip(states, proposals, strict=True)]

    def _next_state(self, request: SearchRequest, old: Answer, new: Answer) -> Answer:
        before, after = (request.scores.get(tuple(ids)) for ids in (old, new))
        if before is None or after is None:
            return old
        log_ratio = (after.score - before.score) / self.heat + math.log(max(1, len(old)) / max(1, len(new)))
        return new if request.random() < math.exp(min(0.0, log_ratio)) else old


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEdits:
    """Replace an early token of the best answer so far at random, and let the policy continue from there.

    Attributes:
        rows: drafts, and edits of a round.
        span: tokens from the start among which the position is drawn.
        top: the policy's likeliest tokens, from which the new one is drawn by its probability.
        temperature: of sampling.
    """

    rows: int = 16
    span: int = 8
    top: int = 256
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Edit round after round."""
        policy = request.energy.policy
        yield from request.finish([[] for _ in range(self.rows)])
        while not request.is_exhausted:
            ids = request.best_answer()
            if not ids:
                return
            output = yield ForwardOp(policy, request.prompt, [ids])
            here = torch.tensor([ids], device=policy.device)
            support, log_pi = output.candidates(here, self.top, policy.banned)
            # without the token that is there now
            shares = (log_pi[0, :, 1:] / self.temperature).softmax(-1).cumsum(-1)
            edits = []
            for _ in range(self.rows):
                position = int(request.random() * min(self.span, len(ids)))
                column = int((shares[position] < request.random()).sum().clamp(max=shares.shape[-1] - 1))
                edits.append([*ids[:position], int(support[0, position, 1 + column])])
            yield from request.finish(edits)
