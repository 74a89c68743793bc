"""One prompt's chains: where they start, what they read, when they end. Knows no text and keeps no best."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langchain_sea import langevin as kernels
from langchain_sea.best import TraceStep
from langchain_sea.protocols import Tokens
from langchain_sea.relaxation import discretise, draft_logits, full_support, top_support

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from langchain_sea.budget import Meter
    from langchain_sea.energy import Energy, EnergyTerms
    from langchain_sea.langevin import Langevin, LangevinInfo, LangevinState
    from langchain_sea.protocols import Prompt

_FLOOR = -1e4  # log π of what must not be said, at the start: last of all, and still finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What the chains move, and where they start.

    Attributes:
        tokens: length of the moved beginning; the policy writes on from it. None moves the whole answer.
        chains: C, trajectories for each prompt.
        drafts: with `tokens`, how many beginnings the policy drafts; the chains start at the best of them.
        kept: with `tokens`, how many of the best beginnings are written on as they are, too.
        temperature: of drafting and of writing on; 1 is the policy itself.
        support: K, the policy's likeliest tokens at each position; None is the whole vocabulary.
        top: what may be decoded: the policy's likeliest tokens at the relaxed tokens so far. None: all.
        sharpness: divides log π at the start; higher starts flatter.
        margin: lead of the draft's token at the start, in logits; higher takes longer to leave it.
        steps: of each chain, where the budget names no number.
        patience: a chain ends after so many steps without a changed token; None never ends one.
        share: of the budget's seconds, for drafting beginnings and moving them; the rest is for writing on.
    """

    tokens: int | None = 8
    chains: int = 4
    drafts: int = 24
    kept: int = 2
    temperature: float = 0.8
    support: int | None = 128
    top: int | None = None
    sharpness: float = 5.0
    margin: float = 1.0
    steps: int = 4
    patience: int | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("tokens", "chains", "drafts", "support", "top", "patience"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}={count} must be at least 1.")
        for name in ("steps", "kept", "temperature"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative.")
        for name in ("sharpness", "margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive.")
        if self.top is not None and self.support is not None:
            raise ValueError("top needs the whole vocabulary: set support=None.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must lie in (0, 1].")


def generators_for(seed: int, key: Hashable, count: int, device: torch.device) -> list[torch.Generator]:
    """One generator per chain, decided by (seed, prompt content, chain) and by nothing else."""
    found = []
    for chain in range(count):
        digest = hashlib.sha256(f"{seed}\0{chain}\0{key!r}".encode()).digest()
        found.append(torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1))
    return found


class Chains:
    """The running chains of one prompt; those that end drop out of every field."""

    def __init__(
        self,
        energy: Energy,
        prompt: Prompt,
        langevin: Langevin,
        window: Window,
        *,
        starts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
    ) -> None:
        """Read the starts once, then evaluate the energy at them; `starts` are C non-empty lists of ids."""
        self.energy, self.prompt, self.langevin, self.window = energy, prompt, langevin, window
        begun = Tokens.hard(starts, energy.policy.device)
        with torch.no_grad():
            policy_logits = energy.policy.read(prompt, begun).logits.masked_fill(energy.policy.banned, _FLOOR)
        self.mask, self.start = begun.mask, begun.ids  # (C, T)
        size = policy_logits.shape[-1]
        self.support = (
            full_support(self.start, size)
            if window.support is None
            else top_support(policy_logits, self.start, window.support)
        )
        # out of every step's reach; but what is given may stand as it is
        self.barred = energy.policy.banned[self.support] & (self.support != self.start[..., None])
        logits = draft_logits(
            policy_logits, self.start, self.support, sharpness=window.sharpness, margin=window.margin
        )
        self.names = list(range(len(starts)))
        self.generators = list(generators)[: len(starts)]
        self.still = [0] * len(starts)
        self.seconds = 0.0
        self.terms: EnergyTerms
        self.state: LangevinState = kernels.init(logits, self._energy, langevin, self.generators)
        self.ids = self._decode()
        self._end(self.state.energy.isfinite() & self.state.gradient.flatten(1).isfinite().all(1))

    def __len__(self) -> int:
        """How many still run."""
        return len(self.names)

    def step(self) -> None:
        """Move every chain once, then end those that are not finite or have stood still for long."""
        began, before, terms = time.monotonic(), self.ids, self.terms
        self.state, info = kernels.step(self.state, self._energy, self.langevin, self.generators)
        if not bool(info.accepted.all()):  # the last evaluation was of proposals
            self.terms = self.terms.map(partial(kernels.where, info.accepted), terms)
        self.ids = self._decode()
        moved = (self.ids != before).any(1).tolist()
        self.still = [0 if m else n + 1 for m, n in zip(moved, self.still, strict=True)]
        self._end(self._lives(info))
        self.seconds = time.monotonic() - began

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
        )

    def _energy(self, logits: Tensor) -> Tensor:
        """(C, T, K) → (C,), and the parts remembered for the record."""
        logits = logits.masked_fill(self.barred, -torch.inf)
        terms = self.energy.relaxed(self.prompt, logits, self.support, self.mask)
        self.terms = terms.map(Tensor.detach)
        return terms.energy

    def _decode(self) -> Tensor:
        """(C, T) ids at the point of the last evaluation."""
        point = (self.state.position + self.state.offset).masked_fill(self.barred, -torch.inf)
        if self.window.top is None:
            return discretise(point, self.support)
        # on the whole vocabulary a candidate's place is its id
        likely = self._policy_logits(point).masked_fill(self.barred, -torch.inf)
        allowed = likely.topk(min(self.window.top, likely.shape[-1])).indices
        return discretise(point.gather(-1, allowed), allowed)

    @torch.no_grad()
    def _policy_logits(self, point: Tensor) -> Tensor:
        """(C, T, V) at the relaxed tokens; read here where the energy has no use for them."""
        if self.terms.logits.numel():
            return self.terms.logits
        soft = self.energy.policy_relaxation(point)
        return self.energy.policy.read(self.prompt, Tokens(soft, self.support, self.mask)).logits

    def _lives(self, info: LangevinInfo) -> Tensor:
        # with mala this describes a proposal, and is rejected
        finite = info.finite | (self.langevin.kernel == "mala")
        patience = self.window.patience
        moving = [patience is None or n < patience for n in self.still]
        return finite & torch.tensor(moving, device=finite.device)

    def _end(self, lives: Tensor) -> None:
        """Drop the chains that do not live on."""
        if bool(lives.all()):
            return
        keep = lives.nonzero().flatten()
        self.state = kernels.rows(self.state, keep)
        self.terms = self.terms.map(lambda part: part[keep])
        self.mask, self.start, self.support, self.barred, self.ids = (
            part[keep] for part in (self.mask, self.start, self.support, self.barred, self.ids)
        )
        for values in (self.names, self.generators, self.still):
            values[:] = [values[i] for i in keep.tolist()]


def walk(
    energy: Energy,
    prompt: Prompt,
    langevin: Langevin,
    window: Window,
    *,
    starts: Sequence[Sequence[int]],
    generators: Sequence[torch.Generator],
    meter: Meter,
) -> Iterator[Chains]:
    """Step chains from the first of the starts until a limit; yields them after every evaluation.

    The meter counts, and says in the end what the limit was.
    """
    starts = starts[: window.chains]
    limit = window.steps if meter.budget.steps is None else meter.budget.steps
    share = 1.0 if window.tokens is None else window.share
    meter.stop_reason = meter.over(share) or ("steps" if starts else "empty")
    if meter.stop_reason != "steps" or limit == 0:
        return
    meter.count(starts)
    chains = Chains(energy, prompt, langevin, window, starts=starts, generators=generators)
    while len(chains):
        yield chains
        meter.stop_reason = meter.over(share) or "steps"
        if meter.steps >= limit or meter.stop_reason != "steps":
            return
        meter.steps += 1
        meter.count(chains.answers())
        chains.step()
    meter.stop_reason = "converged"
