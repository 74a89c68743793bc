"""Rounds of draws under latents: the beginnings of answers, or short whole answers, and the energy of each.

    p(z, y | x) ∝ N(z; 0, s²I) · π(y | x, z) · exp(−E(x, y))

z is added to the policy's hidden states at one layer while it draws. Each group of draws has its own z. The gradient
of the expected energy in z needs the energies of the draws alone (`sampling.latent`), so that every reward has one.
Draws are judged without z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from langchain_sea.core.protocols import OutputSpec, Steering
from langchain_sea.core.terms import find_steering_vector
from langchain_sea.core.trace import TraceStep
from langchain_sea.engine.latent_gradient import LatentGradient, LatentGradientOp
from langchain_sea.engine.memory import get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import ForwardOp, GenerationInput, split_off_opening
from langchain_sea.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.budget import BudgetTracker
    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import Prompt
    from langchain_sea.engine.drafting import Answer, Drafter
    from langchain_sea.engine.draw_scoring import DrawScorer, Round
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.engine.selection import BestSoFar
    from langchain_sea.plans import SearchPlan
    from langchain_sea.presets import LatentConfig
    from langchain_sea.sampling.latent import LatentState

__all__ = ["Draw", "LatentSearch"]

_AISP_NOISE = 0.3  # of each draw's latent, as a share of the states' norm
_AISP_TEMPERATURE = 0.3  # of the weights exp(−energy / temperature)


class Draw(NamedTuple):
    """An answer, or the beginning of one, that was drawn."""

    ids: tuple[int, ...]  # after the prompt's own answer
    energy: float  # on plain text
    cost: float  # see `Round.costs`
    has_ended: bool  # whether the policy ended it
    latent: Tensor | None = None  # (D,) under which it was drawn


@dataclass
class LatentSearch:
    """The search in one window of an answer.

    Attributes:
        prompt: it holds the ids of the answer before the window.
        best: its energy is what is minimised.
        config: how latents start and move.
        plan: how much is drawn.
        drafter: draws, and holds the tracker of the budget.
        draw_tokens: the length of a draw.
        scorer: judges draws.
        may_go_on: takes the number of the next round and the energy of the best draw so far; False ends the search.
        record: called after every round.
        layer: to whose input the latents are added.
        spread: the standard deviation of the energies of the policy's own draws, or of one group where all have a
            latent; None before there are any.
    """

    prompt: Prompt
    best: BestSoFar
    config: LatentConfig
    plan: SearchPlan
    drafter: Drafter
    draw_tokens: int
    scorer: DrawScorer
    may_go_on: Callable[[int, float], bool]
    record: Callable[[TraceStep], None]
    spread: float | None = None
    layer: int = field(init=False, default=0)
    _draws: dict[tuple[int, ...], Draw] = field(init=False, default_factory=dict)
    _radius: float = field(init=False, default=0.0)

    @property
    def energy(self) -> Energy:
        """What is minimised."""
        return self.best.energy

    @property
    def tracker(self) -> BudgetTracker:
        """The tracker of the budget."""
        return self.drafter.tracker

    @property
    def _best_energy(self) -> float:
        """The energy of the draw of the lowest cost."""
        return min(self._draws.values(), key=lambda draw: draw.cost).energy

    def steps(self) -> RequestSteps[list[Draw]]:
        """Return the best draws of all rounds, the one of the lowest energy first."""
        state = self._starts_along_vector()
        for number in range(self.plan.rounds):
            rows = self._latents_of_rows(state)
            drawn = yield from self._draw(rows)
            if drawn is None:
                break
            self._collect(drawn, rows)
            if not self._draws:
                break
            goes_on = number + 1 < self.plan.rounds and self.may_go_on(number + 1, self._best_energy)
            if goes_on and rows is None:
                state = yield from self._starts_along_draws(drawn)
            gradient, next_state = None, state
            if goes_on and state is not None:
                gradient, next_state = yield from self._move(state, rows, drawn)
            self._record_round(number, rows, drawn, gradient)
            if not goes_on:
                break
            state = next_state
        return sorted(self._draws.values(), key=lambda draw: draw.cost)[: self.plan.kept]

    def _starts_along_vector(self) -> LatentState | None:
        """Return the latents at shares of a reward's steering vector; None if no reward has one."""
        vector = find_steering_vector(self.energy.terms)
        if vector is None:
            num_layers = self.energy.policy.num_layers
            self.layer = min(max(1, round(self.config.depth * num_layers)), num_layers - 1)
            return None
        self.layer = vector.layer
        direction = vector.direction.to(self.energy.policy.device).float()
        self._radius = float(direction.norm())
        return self._make_starts(direction, self.config.starts)

    def _make_starts(self, direction: Tensor, starts: Sequence[float]) -> LatentState:
        """Return one latent for each group, a multiple of the direction, (D,)."""
        shares = list(islice(starts, self.plan.groups))
        shares += [0.0] * (self.plan.groups - len(shares))
        return self.config.sampler.init(torch.tensor(shares, device=direction.device)[:, None] * direction)

    def _latents_of_rows(self, state: LatentState | None) -> Tensor | None:
        """Return the latent of each draw, (G × n, D); None if the policy draws without one."""
        if state is None:
            return None
        rows = state.latents.repeat_interleave(self.plan.rows, 0)
        if self.config.update == "aisp":
            noise = torch.nn.functional.normalize(self._random(rows.shape, rows.device), dim=1)
            rows = rows + _AISP_NOISE * self._radius * noise
        return rows

    def _draw(self, rows: Tensor | None) -> RequestSteps[Round | None]:
        """Return a round of draws with their energies; None if the time limit cut it short."""
        steering = None if rows is None or not bool(rows.any()) else Steering(self.layer, rows)
        inputs = [GenerationInput.steered(self.prompt, [[] for _ in range(self.plan.num_draws)], steering)]
        written = yield from self.drafter.write(inputs, self.draw_tokens)
        return None if written.is_cut else (yield from self.scorer.score(written.answers[0], self.layer))

    def _collect(self, drawn: Round, rows: Tensor | None) -> None:
        numbers = zip(drawn.answers, drawn.energies.tolist(), drawn.costs.tolist(), strict=True)
        for i, (ids, energy, cost) in enumerate(numbers):
            if math.isfinite(cost):
                latent = None if rows is None else rows[i]
                draw = Draw(tuple(ids), energy, cost, len(ids) < self.draw_tokens, latent)
                self._draws.setdefault(draw.ids, draw)
        if self.spread is None:
            plain = drawn.energies if rows is None else drawn.energies[~rows.any(1)]
            alike = plain if len(plain) else drawn.energies[: self.plan.rows]
            finite = alike[alike.isfinite()]
            self.spread = float(finite.std()) if len(finite) > 1 else None

    def _starts_along_draws(self, drawn: Round) -> RequestSteps[LatentState | None]:
        """Return latents along the difference between the states of the best and of the worst draws.

        The difference of the means of the best and the worst third; None if their energies do not differ.
        """
        energies: list[float] = drawn.energies.tolist()
        order = sorted((i for i, energy in enumerate(energies) if math.isfinite(energy)), key=energies.__getitem__)
        third = max(1, len(order) // 3)
        if len(order) < 2 or not energies[order[0]] < energies[order[-1]]:  # noqa: PLR2004
            return None
        answers, limit = [drawn.answers[i] for i in order], get_size_limit(self.energy.policy, "states")
        states = yield from split_on_out_of_memory(self._read_states, answers, self.tracker, limit)
        self._radius = float(torch.cat(states).norm(dim=-1).median())
        means = torch.stack([of_answer.mean(0) for of_answer in states])
        direction = means[:third].mean(0) - means[-third:].mean(0)
        unit = direction / direction.norm().clamp(min=1e-12)
        return self._make_starts(self._radius * unit, self.config.starts_without_vector)

    def _read_states(self, answers: Sequence[Answer]) -> RequestSteps[list[Tensor]]:
        """Return the states that the latents are added to, (T, D) of each answer."""
        prefix = self.prompt.answer
        spec = OutputSpec(frozenset({self.layer}), logits=False)
        op = ForwardOp(self.energy.policy, self.prompt, [[*prefix, *ids] for ids in answers], spec)
        output = yield op
        states = output.hidden[self.layer].float()
        first = states.shape[1] - max(map(len, answers))  # the states of a prompt's own answer are not always kept
        return [of_answer[first : first + len(ids)] for of_answer, ids in zip(states, answers, strict=True)]

    def _move(
        self, state: LatentState, rows: Tensor | None, drawn: Round
    ) -> RequestSteps[tuple[LatentGradient | None, LatentState]]:
        """Return the gradient, if it was computed, and the latents of the next round."""
        config, shape = self.config, state.latents.shape
        device = state.latents.device
        if config.update == "none":
            return None, state
        if config.update == "aisp":
            if rows is None:  # the policy's own draws have no latents to weight
                return None, state
            weights = (-drawn.costs.view(shape[0], -1) / _AISP_TEMPERATURE).softmax(1).nan_to_num()
            latents = (weights[..., None].to(rows) * rows.view(shape[0], -1, shape[1])).sum(1)
            return None, state._replace(latents=latents)
        noise = self._random(shape, device) if config.sampler.noise_scale > 0 else None
        if config.update == "random":
            self.tracker.steps += 1
            return None, config.sampler.step(state, self._random(shape, device), radius=self._radius, noise=noise)
        latents = state.latents if rows is not None else torch.zeros_like(state.latents)
        gradient = yield from self._compute_gradient(latents, drawn)
        if gradient is None:
            return None, state
        self.tracker.steps += 1
        direction = gradient.gradient
        if config.shares_gradient:
            direction = direction.mean(0, keepdim=True).expand_as(direction)
        return gradient, config.sampler.step(state, direction, radius=self._radius, noise=noise)

    def _compute_gradient(self, latents: Tensor, drawn: Round) -> RequestSteps[LatentGradient | None]:
        """Return the gradient of all groups; where memory runs out, of half of them at a time.

        None if memory does not suffice for one group.
        """

        def compute(groups: Sequence[int]) -> RequestSteps[list[LatentGradient]]:
            first, last = groups[0] * self.plan.rows, (groups[-1] + 1) * self.plan.rows
            answers = drawn.answers[first:last]
            before, opening = split_off_opening(self.prompt)
            known = [*before.answer, *opening]
            is_whole_round = len(answers) == self.plan.num_draws
            gradient: LatentGradient = yield LatentGradientOp(
                policy=self.energy.policy,
                prompt=before,
                answers=[[*known, *ids] for ids in answers],
                num_known=len(known),
                latents=latents[groups[0] : groups[-1] + 1],
                layer=self.layer,
                temperature=self.drafter.temperature or 1.0,
                energies=drawn.costs[first:last],
                nll=drawn.nll[first:last],
                divergence_weight=self.config.divergence_weight,
                advantages=self.config.sampler.advantages,
                start=drawn.layer_input if is_whole_round and not opening else None,
            )
            self.tracker.count_gradient(answers)
            return [LatentGradient(*parts) for parts in zip(*gradient, strict=True)]

        limit = get_size_limit(self.energy.policy, (LatentGradientOp, self.plan.rows))
        try:
            rows = yield from split_on_out_of_memory(compute, range(len(latents)), self.tracker, limit)
        except OutOfMemoryError:
            self.tracker.is_out_of_memory = True
            return None
        return LatentGradient(*(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def _random(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return standard normal numbers from the prompt's own generator."""
        generator = self.drafter.generators[0]
        return torch.randn(tuple(shape), generator=generator, device=generator.device).to(device)

    def _record_round(self, number: int, rows: Tensor | None, drawn: Round, gradient: LatentGradient | None) -> None:
        """Add a step to the trace: for each group the mean energy of its draws."""
        groups = self.plan.groups
        finite = drawn.energies.isfinite()
        energies = drawn.energies.masked_fill(~finite, 0).view(groups, -1).sum(1)
        energies = energies / finite.view(groups, -1).sum(1).clamp(min=1)
        norms = [0.0] * groups
        if rows is not None:
            norms = (rows.view(groups, self.plan.rows, -1).mean(1).norm(dim=1) / self._radius).tolist()
        self.record(
            TraceStep(
                step=number,
                chains=tuple(range(groups)),
                energy=tuple(energies.tolist()),
                nll=tuple(drawn.nll.view(groups, -1).mean(1).tolist()),
                rewards=tuple(
                    map(tuple, drawn.rewards.view(groups, self.plan.rows, drawn.rewards.shape[1]).mean(1).tolist())
                ),
                gap=(None,) * groups,
                changed=(self.draw_tokens,) * groups,
                seconds=self.tracker.seconds,
                latent_norm=tuple(norms),
                divergence=() if gradient is None else tuple(gradient.divergence.tolist()),
            )
        )
