"""The sampler: pure `init` and `step` over named tuples. Knows neither tokens nor rewards.

One iteration of the paper (arXiv 2505.20081, eq. for the Langevin step), with the letters used below:

    y ← y − η · ∇E(y) + σ · √(2η) · ξ,   ξ ~ N(0, I)

σ = 1 targets exp(−E) as η → 0; the paper prints the noise without its scale, which is σ = 1/√(2η).
Shapes: C chains, then any trailing shape (the refiner's is T positions × K candidates). State is float32
or float64 whatever the weights are, and one generator per chain makes a chain's path independent of what
else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

EnergyFn = Callable[[Tensor], Tensor]
"""(C, ...) → (C,): each chain's energy; differentiable, and no chain's depends on another chain."""


class LangevinState(NamedTuple):
    """Where the chains are. Every field's first axis is the chain."""

    position: Tensor  # (C, ...)
    energy: Tensor  # (C,) at the point where the gradient was taken
    gradient: Tensor  # (C, ...)
    offset: Tensor  # (C, ...) transient noise of the coming evaluation, else zeros
    first_moment: Tensor  # (C, ...) Adam's m, else zeros
    second_moment: Tensor  # (C, ...) Adam's v, else zeros
    step: int


class LangevinInfo(NamedTuple):
    """What one step did, per chain."""

    acceptance_rate: Tensor  # (C,) probability in [0, 1]; 1 for kernels without a test
    is_accepted: Tensor  # (C,) bool
    is_finite: Tensor  # (C,) bool: the new energy and gradient are finite; a chain that is not should end


@dataclass(frozen=True, slots=True, kw_only=True)
class Langevin:
    """The method: which kernel moves the chains, how far, with how much noise.

    Attributes:
        kernel: `ula` is the unadjusted Langevin step above. `mala` adds Metropolis' test, so that exp(−E) is
            the exact target. `adam` preconditions the gradient (Kingma & Ba 2015), as the authors' code does.
        step_size: η > 0, in logits per unit gradient (`adam`: logits per step, whatever the gradient).
        noise_scale: σ ≥ 0, in noise mode `langevin`; `mala` is exact only at 1 and refuses others.
        noise: `langevin` adds it to the state; `transient`, as the authors do, to the next evaluation alone.
        schedule: for `transient`: pairs (step from which it holds, standard deviation in logits), ascending.
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
    """Where the energy is wanted next: a move begun, to be ended by `with_energy` or `accept`."""

    state: LangevinState  # moved; energy and gradient are still those of before
    noise: Tensor  # (C, ...) mala's ξ, else nothing in it

    @property
    def point(self) -> Tensor:
        """(C, ...) the point itself."""
        return self.state.position + self.state.offset


def init(
    position: Tensor, energy_fn: EnergyFn, langevin: Langevin, generators: Sequence[torch.Generator]
) -> LangevinState:
    """The state at step 0. Float16 and bfloat16 positions, (C, ...), are raised to float32.

    The generators, one for each chain and on the position's device, are advanced, here as in `step`.
    """
    proposal = propose_initial(position, langevin, generators)
    return with_energy(proposal, *value_and_grad(energy_fn, proposal.point))


def step(
    state: LangevinState, energy_fn: EnergyFn, langevin: Langevin, generators: Sequence[torch.Generator]
) -> tuple[LangevinState, LangevinInfo]:
    """The next state, at the cost of one gradient for each chain, and what the step did.

    A non-finite energy is reported, never raised.
    """
    proposal = propose(state, langevin, generators)
    energy, gradient = value_and_grad(energy_fn, proposal.point)
    return accept(state, proposal, energy, gradient, langevin=langevin, generators=generators)


def propose_initial(position: Tensor, langevin: Langevin, generators: Sequence[torch.Generator]) -> Proposal:
    """The first half of `init`, for whoever evaluates many chains' energies together."""
    if len(generators) != len(position):
        raise ValueError(f"{len(generators)} generators for {len(position)} chains; pass one per chain.")
    position = position.detach().to(torch.promote_types(position.dtype, torch.float32))
    zeros = torch.zeros_like(position)
    offset = _transient(zeros, 0, langevin, generators)
    none = position.new_zeros(len(position))
    return Proposal(LangevinState(position, none, zeros, offset, zeros, zeros, 0), none)


def with_energy(proposal: Proposal, energy: Tensor, gradient: Tensor) -> LangevinState:
    """The second half of `init`: the state with its energy, (C,), and gradient, (C, ...)."""
    return proposal.state._replace(energy=energy, gradient=gradient)


def propose(state: LangevinState, langevin: Langevin, generators: Sequence[torch.Generator]) -> Proposal:
    """The first half of `step`: the move, before its energy is known."""
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
    """The second half of `step`, with the energy, (C,), and gradient, (C, ...), at the proposal's point."""
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
    kept = moved._replace(
        position=where(accepted, moved.position, state.position),
        energy=torch.where(accepted, energy, state.energy),
        gradient=where(accepted, gradient, state.gradient),
    )
    return kept, LangevinInfo(acceptance, accepted, finite)


def _adam(state: LangevinState, langevin: Langevin) -> tuple[LangevinState, Tensor]:
    """The moments with this gradient in them, and the gradient as they precondition it."""
    (b1, b2), n = langevin.betas, state.step + 1
    m = b1 * state.first_moment + (1 - b1) * state.gradient
    v = b2 * state.second_moment + (1 - b2) * state.gradient.square()
    direction = (m / (1 - b1**n)) / ((v / (1 - b2**n)).sqrt() + langevin.epsilon)
    return state._replace(first_moment=m, second_moment=v), direction


def select_chains(state: LangevinState, keep: Tensor) -> LangevinState:
    """The chains whose indices `keep` lists, (C',); pass their generators from then on."""
    position, energy, gradient, offset, m, v, n = state
    return LangevinState(position[keep], energy[keep], gradient[keep], offset[keep], m[keep], v[keep], n)


def reindex(state: LangevinState, place: Tensor, known: Tensor, entering: Tensor) -> LangevinState:
    """On other coordinates, (C, T, K): each takes those at its `place`, or, not being `known`, enters anew.

    `entering` are the logits of the new ones, which have felt no gradient yet.
    """

    def moved(part: Tensor) -> Tensor:
        return part.gather(-1, place).masked_fill(~known, 0)

    position = torch.where(known, state.position.gather(-1, place), entering)
    gradient, offset, m, v = map(
        moved, (state.gradient, state.offset, state.first_moment, state.second_moment)
    )
    return LangevinState(position, state.energy, gradient, offset, m, v, state.step)


def normal(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise, (C, ...): chain c's draw comes from generator c alone."""
    shape, dtype, device = like.shape[1:], like.dtype, like.device
    return torch.stack([torch.randn(shape, generator=g, dtype=dtype, device=device) for g in generators])


def _transient(like: Tensor, n: int, langevin: Langevin, generators: Sequence[torch.Generator]) -> Tensor:
    sigma = 0.0
    if langevin.noise == "transient":
        sigma = next((s for start, s in reversed(langevin.schedule) if n >= start), 0.0)
    return sigma * normal(like, generators) if sigma > 0 else torch.zeros_like(like)


def value_and_grad(energy_fn: EnergyFn, position: Tensor) -> tuple[Tensor, Tensor]:
    """The energies, (C,), and their gradient, (C, ...), at a point."""
    with torch.enable_grad():
        point = position.detach().requires_grad_()
        energy = energy_fn(point)
        # the zeros: an energy may be constant, and then knows no point
        (gradient,) = torch.autograd.grad(energy.sum() + 0 * point.sum(), point)
    return energy.detach(), gradient


def _sum(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


def where(chains: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """(C, ...): `yes` for the chains that (C,) `chains` says, else `no`."""
    return torch.where(chains.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def is_finite(energy: Tensor, gradient: Tensor) -> Tensor:
    return energy.isfinite() & gradient.reshape(len(gradient), -1).isfinite().all(1)
