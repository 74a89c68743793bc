"""Langevin kernels: pure `init` and `step` over named tuples. Knows neither tokens nor rewards.

One iteration of the paper (arXiv 2505.20081, eq. for the Langevin step), with the letters used below:

    y ← y − η · ∇E(y) + σ · √(2η) · ξ,   ξ ~ N(0, I)

σ = 1 targets exp(−E) as η → 0; the paper prints the noise without its scale, which is σ = 1/√(2η).
`init` and `step` evaluate the energy themselves. Each is also there in two halves, so that many requests can
share a forward pass: `propose_initial` and `with_energy`, `propose` and `accept`.

Shapes: C chains, then any trailing shape (the engine's is T positions × K candidates). The state is float32
or float64 whatever the weights are. Each chain has its own generator, so that its path does not depend on the other
chains of the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_sea.sampling.lazy_modules import LazyModule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

    EnergyFn = Callable[[Tensor], Tensor]
    """(C, ...) → (C,): the energy of each chain, differentiable. It must not depend on other chains."""
else:
    torch = LazyModule("torch")  # settings are made before anything is computed


class LangevinState(NamedTuple):
    """The chains' positions and what belongs to them. The first axis of every tensor is the chain."""

    position: Tensor  # (C, ...)
    energy: Tensor  # (C,) at the point where the gradient was taken
    gradient: Tensor  # (C, ...)
    offset: Tensor  # (C, ...) transient noise of the next evaluation, else zeros
    first_moment: Tensor  # (C, ...) Adam's m, else zeros
    second_moment: Tensor  # (C, ...) Adam's v, else zeros
    step: int


class LangevinInfo(NamedTuple):
    """What one step did, for each chain."""

    acceptance_rate: Tensor  # (C,) probability in [0, 1]; 1 for kernels without an accept-reject test
    is_accepted: Tensor  # (C,) bool
    is_finite: Tensor  # (C,) bool: whether the new energy and gradient are finite; else the chain should end


@dataclass(frozen=True, slots=True, kw_only=True)
class Langevin:
    """Settings of the sampler: the kernel, its step size and its noise.

    Attributes:
        kernel: `ula` is the unadjusted Langevin step above. `mala` adds Metropolis' test, so that exp(−E) is
            the exact target. `adam` preconditions the gradient (Kingma & Ba 2015), as the authors' code does.
        step_size: η > 0, in logits per unit gradient (`adam`: logits per step, whatever the gradient).
        noise_scale: σ ≥ 0, in noise mode `langevin`; `mala` is exact only at 1 and refuses others.
        noise: `langevin` adds noise to the state. `transient` adds it to the point of the next evaluation only, as
            the authors' code does.
        schedule: for `transient`: pairs (first step, standard deviation in logits), in ascending order.
        betas: Adam's decay rates of first and second moment.
        epsilon: Adam's denominator floor.
    """

    kernel: Literal["ula", "mala", "adam"] = "ula"
    step_size: float = 0.1
    noise_scale: float = 1.0
    noise: Literal["langevin", "transient"] = "langevin"
    schedule: tuple[tuple[int, float], ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.kernel not in ("ula", "mala", "adam"):
            raise ValueError(f"kernel={self.kernel!r} is unknown; choose 'ula', 'mala' or 'adam'.")
        if self.noise not in ("langevin", "transient"):
            raise ValueError(f"noise={self.noise!r} is unknown; choose 'langevin' or 'transient'.")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size={self.step_size} must be a positive finite number.")
        if not 0 <= self.noise_scale < math.inf:
            raise ValueError(f"noise_scale={self.noise_scale} must be zero or a positive finite number.")
        if self.kernel == "mala" and (self.noise, self.noise_scale) != ("langevin", 1.0):
            raise ValueError(
                f"mala is exact only with noise='langevin' and noise_scale=1, not {self.noise!r} and "
                f"{self.noise_scale}; leave both at that."
            )
        if not (all(0 <= beta < 1 for beta in self.betas) and self.epsilon > 0):
            raise ValueError(f"betas={self.betas} must lie in [0, 1), and epsilon={self.epsilon} above 0.")
        starts = [start for start, _ in self.schedule]
        if starts != sorted(set(starts)) or not all(0 <= s < math.inf for _, s in self.schedule):
            raise ValueError(f"schedule={self.schedule} needs ascending steps and finite deviations >= 0.")


class Proposal(NamedTuple):
    """A move whose energy is not known yet; `with_energy` or `accept` completes it."""

    state: LangevinState  # the moved chains, with the energy and gradient of before the move
    noise: Tensor  # (C, ...) the noise ξ of mala, else unused

    @property
    def point(self) -> Tensor:
        """The point at which the energy is needed, (C, ...)."""
        return self.state.position + self.state.offset


def init(
    position: Tensor, energy_fn: EnergyFn, langevin: Langevin, generators: Sequence[torch.Generator]
) -> LangevinState:
    """Return the state at step 0.

    Args:
        position: (C, ...); float16 and bfloat16 are converted to float32.
        energy_fn: the energy.
        langevin: the settings.
        generators: one for each chain, on the position's device; they are advanced.

    Raises:
        ValueError: the number of generators is not C.
    """
    proposal = propose_initial(position, langevin, generators)
    return with_energy(proposal, *value_and_grad(energy_fn, proposal.point))


def step(
    state: LangevinState, energy_fn: EnergyFn, langevin: Langevin, generators: Sequence[torch.Generator]
) -> tuple[LangevinState, LangevinInfo]:
    """Return the next state and what the step did; it computes one gradient for each chain.

    An energy that is not finite raises no error: see `LangevinInfo.is_finite`.
    """
    proposal = propose(state, langevin, generators)
    energy, gradient = value_and_grad(energy_fn, proposal.point)
    return accept(state, proposal, energy, gradient, langevin=langevin, generators=generators)


def propose_initial(position: Tensor, langevin: Langevin, generators: Sequence[torch.Generator]) -> Proposal:
    """Return the point at which `init` needs the energy; `with_energy` completes it."""
    if len(generators) != len(position):
        raise ValueError(f"{len(generators)} generators for {len(position)} chains; pass one per chain.")
    position = position.detach().to(torch.promote_types(position.dtype, torch.float32))
    zeros = torch.zeros_like(position)
    offset = _transient(zeros, 0, langevin, generators)
    none = position.new_zeros(len(position))
    return Proposal(LangevinState(position, none, zeros, offset, zeros, zeros, 0), none)


def with_energy(proposal: Proposal, energy: Tensor, gradient: Tensor) -> LangevinState:
    """Return the proposed state with its energy, (C,), and gradient, (C, ...)."""
    return proposal.state._replace(energy=energy, gradient=gradient)


def propose(state: LangevinState, langevin: Langevin, generators: Sequence[torch.Generator]) -> Proposal:
    """Return the point at which `step` needs the energy; `accept` completes it."""
    moved, direction = (state, state.gradient) if langevin.kernel != "adam" else _adam(state, langevin)
    position, xi = state.position - langevin.step_size * direction, state.energy
    if langevin.noise == "langevin" and langevin.noise_scale > 0:
        xi = normal(position, generators)
        position = position + langevin.noise_scale * math.sqrt(2 * langevin.step_size) * xi
    n = state.step + 1
    # where the noise is transient, the gradient is taken beside the new point
    offset = _transient(position, n, langevin, generators)
    return Proposal(moved._replace(position=position, offset=offset, step=n), xi)


def accept(
    state: LangevinState,
    proposal: Proposal,
    energy: Tensor,
    gradient: Tensor,
    *,
    langevin: Langevin,
    generators: Sequence[torch.Generator],
) -> tuple[LangevinState, LangevinInfo]:
    """Return the next state, and what the step did.

    Args:
        state: the state before the move.
        proposal: the move, of `propose`.
        energy: (C,) at the proposal's point.
        gradient: (C, ...) at the proposal's point.
        langevin: the settings.
        generators: one for each chain; mala draws from them.
    """
    moved, finite = with_energy(proposal, energy, gradient), is_finite(energy, gradient)
    if langevin.kernel != "mala":
        certain = torch.ones_like(energy)
        return moved, LangevinInfo(certain, certain.bool(), finite)
    # Metropolis' test (Roberts & Tweedie 1996)
    eta, xi = langevin.step_size, proposal.noise
    backward = state.position - moved.position + eta * gradient
    # log q(y|y') − log q(y'|y); the forward residual is √(2η)·ξ by construction
    log_q = 0.5 * _sum(xi.square()) - _sum(backward.square()) / (4 * eta)
    log_ratio = torch.where(finite, state.energy - energy + log_q, -torch.inf)
    acceptance = log_ratio.nan_to_num(nan=-torch.inf).clamp(max=0).exp()  # NaN: from a non-finite state
    uniform = torch.stack([torch.rand((), generator=g, dtype=xi.dtype, device=xi.device) for g in generators])
    accepted = uniform < acceptance
    result = moved._replace(
        position=where(accepted, moved.position, state.position),
        energy=torch.where(accepted, energy, state.energy),
        gradient=where(accepted, gradient, state.gradient),
    )
    return result, LangevinInfo(acceptance, accepted, finite)


def _adam(state: LangevinState, langevin: Langevin) -> tuple[LangevinState, Tensor]:
    """Return the state with Adam's moments updated, and the preconditioned gradient."""
    (b1, b2), n = langevin.betas, state.step + 1
    m = b1 * state.first_moment + (1 - b1) * state.gradient
    v = b2 * state.second_moment + (1 - b2) * state.gradient.square()
    direction = (m / (1 - b1**n)) / ((v / (1 - b2**n)).sqrt() + langevin.epsilon)
    return state._replace(first_moment=m, second_moment=v), direction


def select_chains(state: LangevinState, rows: Tensor) -> LangevinState:
    """Return the chains with these indices, (C',)."""
    position, energy, gradient, offset, m, v, n = state
    return LangevinState(position[rows], energy[rows], gradient[rows], offset[rows], m[rows], v[rows], n)


def reindex(state: LangevinState, place: Tensor, is_old: Tensor, entering: Tensor) -> LangevinState:
    """Return the state on other coordinates of the last axis.

    Args:
        state: the state, with positions (C, T, K).
        place: (C, T, K') the old index of each new coordinate.
        is_old: (C, T, K') bool; where it is False there was no such coordinate, and `place` is not used.
        entering: (C, T, K') positions of coordinates that were not there; their gradient and moments are 0.
    """

    def moved(part: Tensor) -> Tensor:
        return part.gather(-1, place).masked_fill(~is_old, 0)

    position = torch.where(is_old, state.position.gather(-1, place), entering)
    parts = (state.gradient, state.offset, state.first_moment, state.second_moment)
    gradient, offset, m, v = map(moved, parts)
    return LangevinState(position, state.energy, gradient, offset, m, v, state.step)


def normal(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return standard normal noise, (C, ...), drawn for each chain from its own generator."""
    shape, dtype, device = like.shape[1:], like.dtype, like.device
    return torch.stack([torch.randn(shape, generator=g, dtype=dtype, device=device) for g in generators])


def _transient(like: Tensor, n: int, langevin: Langevin, generators: Sequence[torch.Generator]) -> Tensor:
    sigma = 0.0
    if langevin.noise == "transient":
        sigma = next((s for start, s in reversed(langevin.schedule) if n >= start), 0.0)
    return sigma * normal(like, generators) if sigma > 0 else torch.zeros_like(like)


def value_and_grad(energy_fn: EnergyFn, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy, (C,), and its gradient, (C, ...), at a position."""
    with torch.enable_grad():
        point = position.detach().requires_grad_()
        energy = energy_fn(point)
        # the added zeros connect a constant energy to the point, whose gradient is then zero
        (gradient,) = torch.autograd.grad(energy.sum() + 0 * point.sum(), point)
    return energy.detach(), gradient


def _sum(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


def where(chains: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` for the chains where (C,) `chains` is True, else `no`, (C, ...)."""
    return torch.where(chains.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def is_finite(energy: Tensor, gradient: Tensor) -> Tensor:
    """Return whether energy, (C,), and gradient, (C, ...), are finite, (C,) bool."""
    return energy.isfinite() & gradient.reshape(len(gradient), -1).isfinite().all(1)
