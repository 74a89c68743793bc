"""Langevin steps on a latent under which a policy draws its answers. Knows neither networks, tokens nor rewards.

The latent z is one vector for each group of draws; the caller adds it to the policy's hidden states. Its target is the
marginal of this joint density over z:

    p(z, y | x) ∝ N(z; 0, s²I) · π(y | x, z) · exp(−E(x, y))
    ∇_z log p(z | x) = −z/s² + E_{y~π(·|x,z)}[A(y) · ∇_z log π(y | x, z)],   A(y) = exp(−E(y)) / E_y[exp(−E)] − 1
    z ← z + η · ∇_z + σ · √(2η) · ξ,   ξ ~ N(0, I)

σ = 1 samples as η → 0, and σ = 0 is ascent. By Jensen's inequality E_y[−E] − ‖z‖²/2s² is a lower bound of log p(z | x),
up to a constant. The bound's gradient is the one above with A(y) = −E(y) + E_y[E]. The energy needs no derivative.

The caller draws n answers in each of G groups, gets A from `advantages`, and gives `step` the mean over a group's draws
of A · ∇_z log π(y | x, z), (G, D). D is the width of the hidden states. The radius is a length in their units, such as
the median norm of the hidden states that z is added to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_sea.sampling.lazy_modules import LazyModule

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LazyModule("torch")  # settings are made before anything is computed


class LatentState(NamedTuple):
    """The groups' latents and what belongs to them. The first axis of both tensors is the group."""

    latents: Tensor  # (G, D)
    momentum: Tensor  # (G, D)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSampler:
    """Settings of the sampler of latents, and its calls. It holds no state.

    Attributes:
        step_size: η > 0. With `normalize` it is the length of a step as a share of the radius; without, it is the
            factor of the gradient.
        momentum: μ in [0, 1), in m ← μ·m + g/‖g‖, or m ← μ·m + g without `normalize`; the step follows m.
        max_norm: the trust region as a share of the radius: a longer latent is shortened to it. None: no limit.
        noise_scale: σ ≥ 0. With `normalize` the noise has a root mean square length of σ·√(2η) radii.
        prior_scale: s as a share of the radius, for each coordinate: a draw of the prior has a length of about
            s·√D. None: no prior, so that only the trust region holds the latent.
        normalize: steps have a fixed length, and advantages are standardised within their group, so that energies
            count in standard deviations of their group. That is for ascent. To sample the target above, set
            normalize=False, momentum=0 and max_norm=None.
        estimator: `bound` estimates the gradient of the lower bound, without bias if `normalize` is off. `marginal`
            estimates that of the log marginal, with a bias of O(1/n) for n draws; see `advantages`.
    """

    step_size: float = 0.15
    momentum: float = 0.5
    max_norm: float | None = 0.9
    noise_scale: float = 0.0
    prior_scale: float | None = None
    normalize: bool = True
    estimator: Literal["bound", "marginal"] = "bound"

    def __post_init__(self) -> None:
        if self.estimator not in ("bound", "marginal"):
            raise ValueError(f"estimator={self.estimator!r} is unknown; choose 'bound' or 'marginal'.")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size={self.step_size} must be a positive finite number.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum} must lie in [0, 1); 0 is no momentum.")
        if not 0 <= self.noise_scale < math.inf:
            raise ValueError(f"noise_scale={self.noise_scale} must be zero or a positive finite number.")
        for name in ("max_norm", "prior_scale"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value} must be a positive finite share of the radius, or None to have none.")

    def init(self, latents: Tensor) -> LatentState:
        """Return the state at step 0, without momentum.

        Args:
            latents: (G, D); float16 and bfloat16 are converted to float32.

        Raises:
            ValueError: the latents have another number of axes.
        """
        latents = _as_float("latents", latents, ("G", "D"))
        return LatentState(latents, torch.zeros_like(latents))

    def advantages(self, energies: Tensor) -> Tensor:
        """Return the weight A of each draw, (G, n), in float32 or float64.

        With r = −E, and means over the draws of a group:

            bound:     A_i = r_i − mean_{j≠i} r_j
            marginal:  A_i = n · (log mean_j exp(r_j) − log mean_{j≠i} exp(r_j))

        Each leaves draw i out of what it compares it with. That makes `bound` unbiased. `marginal` is unbiased for
        the gradient of L_n = E[log mean_j exp(r_j)] (Burda et al. 2016; weights as in Mnih & Rezende 2016), so that
        a chain with n draws samples N(z; 0, s²I) · exp(L_n). As n grows, L_n rises to the log marginal, and A_i
        tends to exp(r_i) / E_y[exp(r)] − 1; the bias of the gradient is O(1/n). With `normalize`, either A is then
        standardised: its mean in the group is 0, and its standard deviation 1.

        A draw whose energy is not finite has weight 0, and the others have the weights they would have without it.
        A group whose energies are equal up to rounding, or that has fewer than two finite ones, has zeros.

        Args:
            energies: (G, n) of the draws of each group.

        Raises:
            ValueError: the energies have another number of axes.
        """
        energies = _as_float("energies", energies, ("G", "n"))
        used = energies.isfinite()  # (G, n)
        count = used.sum(1, keepdim=True)
        # weights do not depend on a constant in the energies; the lowest of the group makes exponentials safe
        rewards = energies.masked_fill(~used, torch.inf).amin(1, keepdim=True) - energies
        rewards = rewards.masked_fill(~used, 0)  # (G, n), at most 0
        weights = _bound(rewards, count) if self.estimator == "bound" else _marginal(rewards, used, count)
        if self.normalize:
            weights = _standardised(weights, used, count)
        rounding = 8 * torch.finfo(energies.dtype).eps * energies.masked_fill(~used, 0).abs().amax(1, keepdim=True)
        differ = (count > 1) & (rewards.amin(1, keepdim=True) < -rounding)
        return weights.masked_fill(~(used & differ), 0)

    def step(self, state: LatentState, gradient: Tensor, *, radius: float, noise: Tensor | None = None) -> LatentState:
        """Return the next state.

        A group whose gradient, with the prior's part, is not finite stays where it is and keeps its momentum; so
        does one whose step would overflow. A group whose gradient is zero keeps its momentum, and noise alone
        moves it.

        Args:
            state: the state.
            gradient: (G, D) mean over the group's draws of A · ∇_z log π(y | x, z), without the prior.
            radius: > 0, the length of which `step_size`, `max_norm` and `prior_scale` are shares.
            noise: (G, D) standard normal ξ; needed if `noise_scale` is above 0, else not used.

        Raises:
            ValueError: a shape differs from that of the latents, the radius is not positive and finite, or noise is
                missing.
        """
        z, m = state
        noise = self._checked(z, gradient, radius, noise)
        g = gradient.detach().to(z)
        if self.prior_scale is not None:
            g = g - z / (self.prior_scale * radius) ** 2
        finite = g.isfinite().all(1, keepdim=True)  # (G, 1)
        pulled = finite & g.ne(0).any(1, keepdim=True)
        m = torch.where(pulled, self.momentum * m + (_unit(g) if self.normalize else g), m)
        moved = z + torch.where(pulled, self.step_size * (radius * _unit(m) if self.normalize else m), 0)
        if noise is not None:
            unit = radius / math.sqrt(z.shape[1]) if self.normalize else 1.0
            moved = moved + self.noise_scale * math.sqrt(2 * self.step_size) * unit * noise.to(z)
        if self.max_norm is not None:
            norm = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
            moved = torch.where(norm > self.max_norm * radius, moved * (self.max_norm * radius / norm), moved)
        moves = (finite if noise is not None else pulled) & moved.isfinite().all(1, keepdim=True)
        return LatentState(torch.where(moves, moved, z), torch.where(moves, m, state.momentum))

    def _checked(self, latents: Tensor, gradient: Tensor, radius: float, noise: Tensor | None) -> Tensor | None:
        """Return the noise if there is a use for it, after checks of the arguments of `step`."""
        if not 0 < radius < math.inf:
            raise ValueError(f"radius={radius} must be a positive finite length, such as the hidden states' norm.")
        noise = noise if self.noise_scale > 0 else None
        if noise is None and self.noise_scale > 0:
            raise ValueError(f"noise_scale={self.noise_scale} needs noise; pass standard normal draws, (G, D).")
        for name, value in (("gradient", gradient), ("noise", noise)):
            if value is not None and value.shape != latents.shape:
                raise ValueError(
                    f"{name} has the shape {tuple(value.shape)}, but the latents have {tuple(latents.shape)}; "
                    "pass one row for each group."
                )
        return noise


def _bound(rewards: Tensor, count: Tensor) -> Tensor:
    """Return r_i − mean_{j≠i} r_j, (G, n). Rewards of draws that are not used are 0."""
    others = rewards.sum(1, keepdim=True) - rewards
    return rewards - others / (count - 1).clamp(min=1)


def _marginal(rewards: Tensor, used: Tensor, count: Tensor) -> Tensor:
    """Return n · (log mean_j exp(r_j) − log mean_{j≠i} exp(r_j)), (G, n), over the draws that are used."""
    rewards = rewards.masked_fill(~used, -torch.inf)
    itself = torch.eye(rewards.shape[1], dtype=torch.bool, device=rewards.device)
    others = rewards.unsqueeze(1).masked_fill(itself, -torch.inf).logsumexp(2)  # (G, n, n) → (G, n)
    excess = rewards.logsumexp(1, keepdim=True) - others  # of log-sums, so the counts turn them into log-means
    return count * (excess + ((count - 1).clamp(min=1) / count.clamp(min=1)).log())


def _standardised(weights: Tensor, used: Tensor, count: Tensor) -> Tensor:
    """Return the weights with mean 0 and standard deviation 1 in each group, (G, n), over the draws that are used."""
    deviations = weights - weights.masked_fill(~used, 0).sum(1, keepdim=True) / count.clamp(min=1)
    deviations = _scaled(deviations.masked_fill(~used, 0))
    variance = deviations.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    return deviations / variance.sqrt().masked_fill(variance == 0, 1)


def _unit(vectors: Tensor) -> Tensor:
    """Return the vectors, (G, D), at length 1; zero vectors stay zero."""
    scaled = _scaled(vectors)
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / norm.clamp(min=1)


def _scaled(vectors: Tensor) -> Tensor:
    """Return the vectors, (G, D), with a largest absolute entry of 1, so that squares cannot overflow or vanish."""
    largest = vectors.abs().amax(1, keepdim=True)
    return vectors / largest.masked_fill(largest == 0, 1)


def _as_float(name: str, values: Tensor, axes: tuple[str, ...]) -> Tensor:
    """Return the values in float32 or float64, without their gradient."""
    if values.dim() != len(axes):
        shape = f"({', '.join(axes)})"
        raise ValueError(f"{name} have the shape {tuple(values.shape)}; pass one row for each group, {shape}.")
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))
