"""A problem small enough to enumerate: a Markov policy and a reward for every one of V^T sequences.

The energy of logits y is the base measure ½‖y‖² minus the multilinear extension of log π + r at soft tokens.
At one-hot tokens the extension is exactly log π(s) + r(s), and under the base measure alone every argmax
cell has the same mass, so with straight-through tokens exp(-E) puts exactly π(s)·exp(r(s)) on each cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langchain_sea.sampling import langevin
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation, discretise, draft_logits, full_support

if TYPE_CHECKING:
    from langchain_sea.sampling.langevin import EnergyFn


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    """One seeded generator per chain."""
    return [torch.Generator().manual_seed(100_003 * seed + chain) for chain in range(count)]


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ|p - q|."""
    return 0.5 * (p - q).abs().sum().item()


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A first-order Markov policy and a reward table, float64."""

    first: Tensor  # (V,) log-probabilities of the first token
    transition: Tensor  # (V, V) log-probabilities of the next token, one row per current token
    reward: Tensor  # (V,) * T

    @classmethod
    def random(cls, vocab: int, length: int, seed: int, *, scale: float = 1.0) -> Toy:
        """Normal scores; the reward has a term per token (2), per pair of tokens (1) and per sequence (¼)."""
        g = torch.Generator().manual_seed(seed)

        def draw(*axes: int) -> Tensor:
            shape = [vocab if axis in axes else 1 for axis in range(length)]
            return torch.randn(shape, generator=g, dtype=torch.float64)

        first, transition = draw(0).flatten(), torch.randn(vocab, vocab, generator=g, dtype=torch.float64)
        reward = 0.25 * draw(*range(length))
        for t in range(length):
            reward = reward + 2 * draw(t) + sum(draw(t, u) for u in range(t))
        return cls(first=first.log_softmax(-1), transition=transition.log_softmax(-1), reward=scale * reward)

    @property
    def shape(self) -> tuple[int, int]:
        """T, V."""
        return self.reward.dim(), len(self.first)

    def log_policy(self) -> Tensor:
        """Log π of every sequence, (V,) * T."""
        table = self.first
        for _ in range(self.reward.dim() - 1):
            table = table.unsqueeze(-1) + self.transition
        return table

    def score(self) -> Tensor:
        """Log π + r of every sequence, (V,) * T."""
        return self.log_policy() + self.reward

    def exact(self) -> Tensor:
        """π·exp(r), normalised, (V^T,)."""
        return self.score().flatten().softmax(-1)

    def energy(self, relaxation: Relaxation, *, base: bool = True) -> EnergyFn:
        """½‖y‖² (if `base`) minus the multilinear extension of the score at the relaxed tokens."""
        length, vocab = self.shape
        score = self.score()

        def energy_fn(logits: Tensor) -> Tensor:  # (C, T, V) → (C,)
            tokens = relaxation(logits)
            value = tokens[:, 0] @ score.to(tokens.dtype).reshape(vocab, -1)  # (C, V^(T-1))
            for t in range(1, length):
                value = (tokens[:, t, None] @ value.view(len(tokens), vocab, -1)).squeeze(1)
            measure = 0.5 * logits.square().sum((1, 2)) if base else 0.0
            return measure - value.squeeze(-1)

        return energy_fn

    def index(self, ids: Tensor) -> Tensor:
        """(C, T) → (C,) position of each sequence in the flattened tables."""
        length, vocab = self.shape
        return (ids * vocab ** torch.arange(length - 1, -1, -1)).sum(-1)

    def draft(self, rngs: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """One draft per generator from the policy, (C, T) ids, and the policy's (C, T, V) logits along it."""
        ids, rows = [], [self.first.expand(len(rngs), -1)]
        for _ in range(self.shape[0]):
            chances = rows[-1].exp()
            ids.append(torch.cat([torch.multinomial(p, 1, generator=g) for p, g in zip(chances, rngs, strict=True)]))
            rows.append(self.transition[ids[-1]])
        return torch.stack(ids, 1), torch.stack(rows[:-1], 1)


def occupancy(toy: Toy, method: Langevin, *, chains: int, steps: int, seed: int = 0) -> tuple[Tensor, float]:
    """Share of time in each sequence's cell, and the total variation that sampling noise alone would give.

    The floor is ½ Σ √(2/π)·SE; chains are independent, so the spread between them gives each cell's SE
    whatever the autocorrelation within a chain is. The first fifth of the steps is discarded.
    """
    rngs, (length, vocab) = generators(chains, seed), toy.shape
    support = full_support(torch.zeros(chains, length, dtype=torch.long), vocab)
    energy_fn = toy.energy(Relaxation(kind="straight_through"))
    start = torch.stack([torch.randn(length, vocab, generator=g, dtype=torch.float64) for g in rngs])
    state = langevin.init(start, energy_fn, method, rngs)
    counts = torch.zeros(chains, vocab**length, dtype=torch.float64)
    for n in range(steps):
        state, _ = langevin.step(state, energy_fn, method, rngs)
        if n >= steps // 5:
            counts[torch.arange(chains), toy.index(discretise(state.position, support))] += 1
    shares = counts / (steps - steps // 5)
    standard_error = shares.std(0) / math.sqrt(chains)
    return shares.mean(0), 0.5 * math.sqrt(2 / math.pi) * standard_error.sum().item()


def exact_second_moment(toy: Toy) -> float:
    """E‖y‖² under exp(-E), soft tokens, V = T = 2, by quadrature.

    The energy sees position t only through u = (y₁ - y₀)/√2; the direction across it is standard normal.
    """
    u = torch.linspace(-9, 9, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(u, u) / math.sqrt(2)  # (601², T)
    negative = -toy.energy(Relaxation(kind="soft"))(torch.stack([-grid, grid], -1))
    return 2 + (negative.softmax(0) * 2 * grid.square().sum(-1)).sum().item()


def ula_bias(toy: Toy, step_size: float, *, chains: int, steps: int, seed: int = 0) -> float:
    """|E‖y‖² of unadjusted Langevin / the exact E‖y‖² - 1|, soft tokens, V = T = 2."""
    rngs = generators(chains, seed)
    energy_fn, method = toy.energy(Relaxation(kind="soft")), Langevin(kernel="ula", step_size=step_size)
    start = torch.stack([torch.randn(2, 2, generator=g, dtype=torch.float64) for g in rngs])
    state = langevin.init(start, energy_fn, method, rngs)
    total = 0.0
    for n in range(steps):
        state, _ = langevin.step(state, energy_fn, method, rngs)
        if n >= steps // 5:
            total += state.position.square().sum((1, 2)).mean().item()
    return abs(total / (steps - steps // 5) / exact_second_moment(toy) - 1)


SEARCH = Langevin(kernel="adam", step_size=0.3, noise="transient", schedule=((0, 2.0),))


def finds_optimum(case: int, *, chains: int = 64, steps: int = 100, method: Langevin = SEARCH) -> bool:
    """Whether the lowest energy seen is the enumerated optimum; the toy is random, V in 8..16, T in 3..4.

    Chains start at drafts from the policy; the hard tokens of every evaluation are candidates.
    """
    toy = Toy.random(8 + case % 9, 3 + case // 9 % 2, case)
    rngs = generators(chains, case)
    ids, policy_logits = toy.draft(rngs)
    support = full_support(ids, toy.shape[1])
    energy_fn = toy.energy(Relaxation(kind="straight_through"), base=False)
    start = draft_logits(policy_logits, ids, support, temperature=1.0, margin=1.0)
    state = langevin.init(start, energy_fn, method, rngs)
    best, found = state.energy.new_tensor(torch.inf), ids[0]
    for n in range(steps + 1):
        energy, chain = state.energy.min(0)
        if energy < best:
            point = state.position + state.offset
            best, found = energy, discretise(point, support)[chain]
        if n < steps:
            state, _ = langevin.step(state, energy_fn, method, rngs)
    return bool(toy.index(found[None])[0] == toy.score().argmax())


def policy_finds_optimum(case: int, *, draws: int = 6_464) -> float:
    """The control: the chance that as many policy draws as `finds_optimum` spends contain the optimum."""
    toy = Toy.random(8 + case % 9, 3 + case // 9 % 2, case)
    chance = toy.log_policy().flatten()[toy.score().argmax()].exp().item()
    return 1 - (1 - chance) ** draws


def finite_difference_error(seed: int = 0, *, width: float = 1e-5) -> float:
    """Largest |gradient - central difference| over 3 chains, soft tokens, float64, V=5, T=3."""
    energy_fn = Toy.random(5, 3, seed).energy(Relaxation(kind="soft", tau=0.7))
    rngs = generators(3, seed)
    point = torch.stack([torch.randn(3, 5, generator=g, dtype=torch.float64) for g in rngs])
    gradient = langevin.init(point, energy_fn, Langevin(), rngs).gradient
    return (gradient - central_difference(energy_fn, point, width)).abs().max().item()


def central_difference(energy_fn: EnergyFn, point: Tensor, width: float = 1e-5) -> Tensor:
    """The gradient of each chain's energy, one coordinate at a time. (C, ...) → (C, ...)."""
    steps = width * torch.eye(point[0].numel(), dtype=point.dtype).view(-1, *point.shape[1:])
    columns = [(energy_fn(point + step) - energy_fn(point - step)) / (2 * width) for step in steps]
    return torch.stack(columns, 1).view_as(point)
