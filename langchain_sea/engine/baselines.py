"""Search without gradient: what a refinement must beat, each method one frozen value for `search`.

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

__all__ = [
    "BestOfN",
    "ChunkBeam",
    "PrefixSearch",
    "QAlign",
    "RandomEdits",
    "RewardGuided",
    "Search",
    "search",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """Whole answers drawn from the policy; `count` None draws until the budget is spent."""

    count: int | None = None
    rows: int = 16
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Batch after batch."""
        left = math.inf if self.count is None else self.count
        while left > 0 and not request.is_exhausted:
            size = int(min(left, self.rows))
            yield from request.finish([[] for _ in range(size)])
            left -= size


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSearch:
    """Many short beginnings, the best by the reward's value written on; anew until the budget is spent.

    Attributes:
        rows: beginnings.
        tokens: of each.
        kept: of them.
        continuations: of each of those.
    """

    rows: int = 128
    tokens: int = 8
    kept: int = 8
    continuations: int = 2
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Begin, rank, write on; the draft is the first beginning, written on as it is."""
        while not request.is_exhausted:
            begun, _ = yield from request.write([[] for _ in range(self.rows)], self.tokens)
            best = (yield from request.rank(begun))[: self.kept]
            mine = [] if request.scores else begun[:1]
            rows = [*mine, *(ids for ids in best for _ in range(self.continuations))]
            yield from request.finish(rows or [[]])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBeam:
    """Beams of answers that grow a chunk at a time, the best by value kept (CBS, arXiv 2405.19262).

    Attributes:
        beams: that are kept.
        width: continuations of each.
        chunk: tokens.
    """

    beams: int = 4
    width: int = 4
    chunk: int = 8
    temperature: float = 0.8

    @property
    def rows(self) -> int:
        """All continuations."""
        return self.beams * self.width

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Beam after beam; what ends first is the draft."""
        while not request.is_exhausted:
            yield from self._beam(request)

    def _beam(self, request: SearchRequest) -> RequestSteps[None]:
        beams: list[Answer] = [[] for _ in range(self.beams)]
        ended: list[Answer] = []
        at = 0
        while beams and at < request.max_new_tokens:
            wider = [ids for ids in beams for _ in range(self.width)]
            grown, cut = yield from request.write(wider, self.chunk)
            if cut and request.scores:
                return
            at += self.chunk
            ranked = (yield from request.rank(grown))[: self.beams]
            ended += [ids for ids in ranked if len(ids) < min(at, request.max_new_tokens)]
            beams = [ids for ids in ranked if len(ids) >= at]
        yield from request.offer(ended + beams)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardGuided:
    """A token at a time, of the policy's likeliest the one of the lowest energy (ARGS, arXiv 2402.01694).

    Attributes:
        top: candidates at each position.
    """

    top: int = 10
    rows: int = 1
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """One answer; no end token is among the candidates."""
        energy, ids = request.energy, list[int]()
        while len(ids) < request.max_new_tokens and not request.is_exhausted:
            reading = yield ForwardOp(energy.policy, request.prompt, [[*ids, 0]])
            here = torch.tensor([[*ids, 0]], device=energy.policy.device)
            likely = reading.candidates(here, self.top + 1, energy.policy.banned)[0][0, -1, 1:].tolist()
            ids = (yield from request.rank([[*ids, token] for token in likely]))[0]
        if not ids:
            ids = (yield from request.write([[]], request.max_new_tokens))[0][0]
        yield from request.offer([ids])


@dataclass(frozen=True, slots=True, kw_only=True)
class QAlign:
    """Metropolis–Hastings over answers whose proposals rewrite a suffix (QAlign, arXiv 2504.03790).

    A place is drawn uniformly and the policy writes on from it; accepted with probability
    min(1, exp((E − E′) / `heat`) · |y| / |y′|).
    """

    rows: int = 8
    heat: float = 0.3
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """As many chains as `rows`."""
        states = yield from request.finish([[] for _ in range(self.rows)])
        while not request.is_exhausted:
            cuts = [int(request.random() * max(1, len(ids))) for ids in states]
            begun = [ids[:cut] for ids, cut in zip(states, cuts, strict=True)]
            proposed = yield from request.finish(begun)
            states = [self._next(request, a, b) for a, b in zip(states, proposed, strict=True)]

    def _next(self, request: SearchRequest, old: Answer, new: Answer) -> Answer:
        before, after = (request.scores.get(tuple(ids)) for ids in (old, new))
        if before is None or after is None:
            return old
        log_ratio = (after.score - before.score) / self.heat + math.log(max(1, len(old)) / max(1, len(new)))
        return new if request.random() < math.exp(min(0.0, log_ratio)) else old


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEdits:
    """The best answer so far with one early token exchanged at random, written on by the policy.

    Attributes:
        rows: drafts, and edits of a round.
        span: tokens from the start among which the place is drawn.
        top: the policy's likeliest tokens from which the new one is drawn, by their probability.
    """

    rows: int = 16
    span: int = 8
    top: int = 256
    temperature: float = 0.8

    def steps(self, request: SearchRequest) -> RequestSteps[None]:
        """Round after round."""
        yield from request.finish([[] for _ in range(self.rows)])
        while not request.is_exhausted:
            ids, energy = request.best_answer(), request.energy
            if not ids:
                return
            reading = yield ForwardOp(energy.policy, request.prompt, [ids])
            here = torch.tensor([ids], device=energy.policy.device)
            support, log_pi = reading.candidates(here, self.top, energy.policy.banned)
            shares = (log_pi[0, :, 1:] / self.temperature).softmax(-1).cumsum(-1)  # all but what stands there
            edits = []
            for _ in range(self.rows):
                place = int(request.random() * min(self.span, len(ids)))
                chosen = int((shares[place] < request.random()).sum().clamp(max=shares.shape[-1] - 1))
                edits.append([*ids[:place], int(support[0, place, 1 + chosen])])
            yield from request.finish(edits)
