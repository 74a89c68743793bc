"""One prompt's chains: where they start, what they read, when they end. Knows no text and keeps no best."""

from __future__ import annotations

import hashlib
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from langchain_sea.core.protocols import Tokens
from langchain_sea.core.trace import TraceStep
from langchain_sea.engine.ops import ForwardOp, GradientOp
from langchain_sea.sampling import langevin as kernels
from langchain_sea.sampling.relaxation import (
    discretise,
    draft_logits,
    full_support,
    match_candidates,
    straight_through_vjp,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Sequence

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.core.terms import EnergyTerms
    from langchain_sea.engine.ops import Op, RequestSteps, ValueAndGrad
    from langchain_sea.presets import SearchConfig
    from langchain_sea.sampling.langevin import Langevin, LangevinState, Proposal

_FLOOR = -1e4  # log π of what must not be said, at the start: last of all, and still finite


def generators_for(seed: int, key: Hashable, count: int, device: torch.device) -> list[torch.Generator]:
    """One generator per chain, decided by (seed, prompt content, chain) and by nothing else."""
    found = []
    for chain in range(count):
        digest = hashlib.sha256(f"{seed}\0{chain}\0{key!r}".encode()).digest()
        found.append(torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1))
    return found


class _Held(NamedTuple):
    """What was read of each chain's text, which stands as long as the text does."""

    text: Tensor  # (C, T)
    terms: EnergyTerms
    gradient: Tensor  # (C, T, K) in the tokens

    def replaced(self, rows: Tensor, text: Tensor, slope: ValueAndGrad) -> _Held:
        """With other texts in some rows."""

        def put(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, rows, new)

        terms = self.terms.map(put, slope.terms)
        return _Held(put(self.text, text), terms, put(self.gradient, slope.gradient))

    def kept(self, rows: Tensor) -> _Held:
        """Those rows alone."""
        return _Held(self.text[rows], self.terms.map(lambda part: part[rows]), self.gradient[rows])


class Chains:
    """The running chains of one prompt; those that end drop out of every field."""

    state: LangevinState
    terms: EnergyTerms
    ids: Tensor  # (C, T)

    def __init__(
        self,
        energy: Energy,
        prompt: Prompt,
        langevin: Langevin,
        search_config: SearchConfig,
        *,
        starts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
    ) -> None:
        """Hold the parts; `starts` are C non-empty lists of ids, and `begin` comes first."""
        if search_config.chains.refresh_every is not None and langevin.kernel == "mala":
            raise ValueError(
                f"refresh={search_config.chains.refresh_every} moves mala to another space: leave it None."
            )
        self.energy, self.prompt, self.langevin, self.search_config = energy, prompt, langevin, search_config
        begun = Tokens.from_ids(starts, energy.policy.device)
        self.mask, self.start = begun.mask, begun.ids  # (C, T)
        self.read = self.start  # what stood there when the candidates were chosen
        self.names = list(range(len(starts)))
        self.generators = list(generators)[: len(starts)]
        self.still = [0] * len(starts)
        self.seconds = 0.0
        self.broken = False  # whether one ended because its energy, or a gradient, was not finite
        self._policy_logits: Tensor | None = None
        self._held: _Held | None = None

    def __len__(self) -> int:
        """How many still run."""
        return len(self.names)

    def begin(self) -> RequestSteps[None]:
        """Read the starts once, then evaluate the energy at them."""
        began, policy, search_config = time.monotonic(), self.energy.policy, self.search_config
        reading = yield self._look(self.start)
        if search_config.chains.num_candidates is None:
            log_pi = reading.logits.log_softmax(-1)
            self.support = full_support(self.start, log_pi.shape[-1])
        else:
            self.support, log_pi = reading.candidates(
                self.start, search_config.chains.num_candidates, policy.banned
            )
        logits = self._begun(log_pi, self.start, self.support)
        # out of every step's reach; but what is given may stand as it is
        self.barred = self._bars(self.start)
        proposal = kernels.propose_initial(logits, self.langevin, self.generators)
        self.terms, gradient = yield from self._climb(proposal)
        self.state = kernels.with_energy(proposal, self.terms.energy, gradient)
        self.ids = self._decode()
        finite = self.state.energy.isfinite() & self.state.gradient.flatten(1).isfinite().all(1)
        self._end(finite, finite)
        self.seconds = time.monotonic() - began

    def step(self) -> RequestSteps[None]:
        """Move every chain once, then end those that are not finite or have stood still for long."""
        began, before, terms = time.monotonic(), self.ids, self.terms
        if (
            self.search_config.chains.refresh_every is not None
            and self.state.step
            and self.state.step % self.search_config.chains.refresh_every == 0
        ):
            yield from self._refresh()
        proposal = kernels.propose(self.state, self.langevin, self.generators)
        self.terms, gradient = yield from self._climb(proposal)
        energy = self.terms.energy
        self.state, info = kernels.accept(
            self.state, proposal, energy, gradient, langevin=self.langevin, generators=self.generators
        )
        if self.langevin.kernel == "mala":  # the last evaluation was of proposals
            self.terms = self.terms.map(partial(kernels.where, info.is_accepted), terms)
        self.ids = self._decode()
        finite = info.is_finite | (self.langevin.kernel == "mala")  # there it is of a proposal, and is rejected
        self._end(finite & self._moving((self.ids != before).any(1)), finite)
        self.seconds = time.monotonic() - began

    def halve(self) -> None:
        """Go on with the first half of the chains: memory holds no more."""
        self._keep(torch.arange(max(1, len(self) // 2), device=self.mask.device))

    def answers(self) -> list[list[int]]:
        """The chains' tokens at the last evaluation, without padding."""
        return [ids[mask].tolist() for ids, mask in zip(self.ids, self.mask, strict=True)]

    def trace(self, gaps: Sequence[float | None]) -> TraceStep:
        """The record of the last evaluation."""
        changed = ((self.ids != self.start) & self.mask).sum(1)
        return TraceStep(
            step=self.state.step,
            chains=tuple(self.names),
            energy=tuple(self.terms.energy.tolist()),
            nll=tuple(self.terms.nll.tolist()),
            rewards=tuple(tuple(row) for row in self.terms.rewards.tolist()),
            gap=tuple(gaps),
            changed=tuple(changed.tolist()),
            seconds=round(self.seconds, 4),
            min_gradient_cosine=_finite(self.terms.min_gradient_cosine),
        )

    def _look(self, ids: Tensor) -> ForwardOp:
        answers = [row[mask].tolist() for row, mask in zip(ids, self.mask, strict=True)]
        return ForwardOp(self.energy.policy, self.prompt, [[*self.prompt.answer, *row] for row in answers])

    def _bars(self, ids: Tensor) -> Tensor:
        """(C, T, K) what must not be said: banned ids, and what a grammar has no place for."""
        barred = self.energy.policy.banned[self.support] & (self.support != ids[..., None])
        if self.prompt.has_grammar:
            for row, mask in enumerate(self.mask):
                fits = self.prompt.allowed_candidates(ids[row][mask].tolist(), self.support[row][mask])
                barred[row, mask] |= ~fits.to(barred.device)
        return barred

    def _begun(self, log_pi: Tensor, ids: Tensor, support: Tensor) -> Tensor:
        """(C, T, K) logits at which `ids` are said."""
        likely = log_pi.masked_fill(self.energy.policy.banned[support], _FLOOR)
        search_config = self.search_config
        return draft_logits(
            likely,
            ids,
            support,
            sharpness=search_config.chains.init_temperature,
            margin=search_config.chains.init_margin,
        )

    def _refresh(self) -> Generator[Op, Any, None]:
        """The policy's likeliest tokens after the text as it is now; those that stay keep where they were.

        New ones enter behind the token that stands there, as far as at a start: the text stays as it is.
        """
        if self.search_config.chains.num_candidates is None:
            return
        changed = ((self.ids != self.read) & self.mask).cumsum(1) > 0
        stale = pad(changed, (1, -1)) & self.mask  # right of a token that changed
        if not bool(stale.any()):
            return
        reading = yield self._look(self.ids)
        likeliest, log_pi = reading.candidates(
            self.ids, self.search_config.chains.num_candidates, self.energy.policy.banned
        )
        support = likeliest.where(stale[..., None], self.support)
        place, known = match_candidates(self.support, support)
        begun = self._begun(log_pi, self.ids, likeliest)
        now = self.ids[..., None]
        stands = self.state.position.gather(-1, match_candidates(self.support, now)[0])
        entering = stands + begun - begun.amax(-1, keepdim=True)
        self.state = kernels.reindex(self.state, place, known, entering)
        self.support, self.read, self._held = support, self.ids, None
        self.barred = self._bars(self.ids)

    def _climb(self, proposal: Proposal) -> Generator[Op, Any, tuple[EnergyTerms, Tensor]]:
        """The energy and its gradient at the proposal, read only where the text is another one."""
        point = proposal.point.masked_fill(self.barred, -torch.inf)
        if not self.energy.is_straight_through or self.search_config.chains.top_k is not None:
            slope: ValueAndGrad = yield self._asked(point, slice(None))
            self._policy_logits = slope.logits
            return slope.terms, self._felt(point, slope.gradient)
        text = discretise(point, self.support)
        if self._held is None:
            slope = yield self._asked(point, slice(None))
            self._held = _Held(text, slope.terms, slope.gradient)
        rows = ((text != self._held.text) & self.mask).any(1).nonzero().flatten()
        if len(rows):
            slope = yield self._asked(point, rows)
            self._held = self._held.replaced(rows, text[rows], slope)
        return self._held.terms, self._felt(point, self._held.gradient)

    def _asked(self, point: Tensor, rows: Tensor | slice) -> GradientOp:
        where = (point[rows], self.support[rows], self.mask[rows])
        return GradientOp(
            self.energy, self.prompt, *where, logits=self.search_config.chains.top_k is not None
        )

    def _felt(self, point: Tensor, gradient: Tensor) -> Tensor:
        return straight_through_vjp(point, gradient, self.energy.policy_relaxation.tau) if self.energy.is_straight_through else gradient

    def _decode(self) -> Tensor:
        """(C, T) ids at the point of the last evaluation."""
        point = (self.state.position + self.state.offset).masked_fill(self.barred, -torch.inf)
        if self.search_config.chains.top_k is None or self._policy_logits is None:
            return discretise(point, self.support)
        # on the whole vocabulary a candidate's place is its id
        likely = self._policy_logits.masked_fill(self.barred, -torch.inf)
        allowed = likely.topk(min(self.search_config.chains.top_k, likely.shape[-1])).indices
        return discretise(point.gather(-1, allowed), allowed)

    def _moving(self, moved: Tensor) -> Tensor:
        """(C,) whether each has changed a token lately enough."""
        if self.search_config.chains.patience is None:
            return torch.ones_like(moved)
        self.still = [0 if m else n + 1 for m, n in zip(moved.tolist(), self.still, strict=True)]
        return torch.tensor([n < self.search_config.chains.patience for n in self.still], device=moved.device)

    def _end(self, lives: Tensor, finite: Tensor) -> None:
        """Drop the chains that do not live on."""
        if not bool(lives.all()):
            self.broken = self.broken or not bool(finite.all())
            self._keep(lives.nonzero().flatten())

    def _keep(self, keep: Tensor) -> None:
        self.state = kernels.select_chains(self.state, keep)
        self.terms = self.terms.map(lambda part: part[keep])
        self.mask, self.start, self.read, self.support, self.barred, self.ids = (
            part[keep]
            for part in (self.mask, self.start, self.read, self.support, self.barred, self.ids)
        )
        if self._held is not None:
            self._held = self._held.kept(keep)
        for values in (self.names, self.generators, self.still):
            values[:] = [values[i] for i in keep.tolist()]


def _finite(values: Tensor) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
