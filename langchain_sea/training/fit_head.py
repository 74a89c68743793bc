"""Fit a head on hidden states to examples.

The loss is cross-entropy for scored answers and Bradley–Terry for pairs, both at every cut of `features.CUTS`:

    −y log σ(v) − (1 − y) log(1 − σ(v)),        −log σ(v_chosen − v_rejected)
"""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from langchain_sea.core.wording import count_of
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead
from langchain_sea.training.examples import DataError, Example, drop_blank_answers, hash_fraction
from langchain_sea.training.features import CUTS, Pooling, drop_long_prompts, pool_answers
from langchain_sea.training.metrics import Data, collect_data, count_examples, measure_cuts, ordering_quality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["Fitted", "Recipe", "fit_head"]

_DEPTH = 0.53  # of the layers; the states there tell best what a text does
_VALIDATION_FRACTION = 0.15  # of the training prompts; they choose epoch and seed
_PATIENCE = 8  # epochs without an improvement


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a head is fitted.

    Attributes:
        layer: which of the policy's hidden states; None means the layer at 0.53 of the depth.
        epochs: the most passes over the data; the epoch that is best on validation prompts is kept.
        seed: of the first head; the others count up from it.
        seeds: the number of heads; the best on validation prompts is kept.
        members: the number of best heads to combine: the value is their mean minus their standard deviation.
        start: a head of the same policy and layer to continue from; every other seed starts from random weights, so
            that the members differ. None means that all do.
        learning_rate: AdamW's.
        weight_decay: AdamW's; the high default keeps a head smooth if there are few examples.
        batch: answers or pairs per step.
    """

    layer: int | None = None
    epochs: int = 25
    seed: int = 0
    seeds: int = 3
    members: int = 1
    start: HiddenStateHead | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    batch: int = 256


class Fitted(NamedTuple):
    """A head and its figures on held-out prompts."""

    head: HiddenStateHead
    figures: dict[str, Any]


def fit_head(
    examples: Sequence[Example],
    policy: CausalLMPolicy,
    recipe: Recipe | None = None,
    *,
    name: str = "",
    cache: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Fit heads of several seeds, and measure the best one on held-out examples.

    Args:
        examples: from `read_examples`.
        policy: computes the states that the head reads; it is not changed.
        recipe: None means the defaults.
        name: the policy's name, saved with the head.
        cache: a folder for the states, so that a run that was cut off can continue.
        report: is called with a line of progress.

    Raises:
        DataError: too few prompts, or all answers alike.
    """
    started = time.monotonic()
    recipe = recipe or Recipe()
    layer = _choose_layer(policy, recipe)
    given = drop_blank_answers(examples)
    usable = drop_long_prompts(given, policy)
    if len(usable) < len(given):
        num_dropped = count_of(len(given) - len(usable), "answer")
        report(f"left out {num_dropped}: the prompt fills the context of {policy.context} tokens")
    learned, held_out = [e for e in usable if not e.is_held_out], [e for e in usable if e.is_held_out]
    if not learned:
        raise DataError("every example is held out, blank or too long: there is nothing to train on.")
    report(f"reading {len(usable)} answers at layer {layer}")
    pooling = Pooling(layer)
    pooled = pool_answers(learned, policy, pooling, cache)
    info = HeadInfo(policy=name, layer=layer, hidden_size=pooled.shape[-1] // 2, first=pooling.first)
    head, figures = _fit_best(info, _split(pooled, learned), recipe, report)
    if layer < policy.model.config.get_text_config().num_hidden_layers:  # no layer reads what is added to the last
        head.steering_vector = fit_steering_vector(pooled, learned)
    figures |= {"learned": count_examples(learned), "held_out": count_examples(held_out)}
    if held_out:
        with torch.no_grad():
            values = head(pooled_held_out := pool_answers(held_out, policy, pooling, cache))
        figures["held_out"] |= measure_cuts(values, collect_data(pooled_held_out, held_out))
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    head.info = replace(head.info, figures=figures)
    return Fitted(head, figures)


def _choose_layer(policy: CausalLMPolicy, recipe: Recipe) -> int:
    if recipe.layer is not None:
        return recipe.layer
    if recipe.start is not None:
        return recipe.start.info.layer
    return round(_DEPTH * int(policy.model.config.get_text_config().num_hidden_layers))


def _split(pooled: Tensor, examples: Sequence[Example]) -> tuple[Data, Data]:
    """Split the training examples by prompt into those to train on and those that choose epoch and seed."""
    inner = torch.tensor(
        [hash_fraction(example.conversation_key, "inner:") < _VALIDATION_FRACTION for example in examples]
    )
    train, choose = (
        collect_data(pooled[which], [e for e, is_in in zip(examples, which.tolist(), strict=True) if is_in])
        for which in (~inner, inner)
    )
    for part, what in ((train, "to train on"), (choose, "to validate on")):
        if math.isnan(ordering_quality(part.features[:, -1, 0], part)):
            raise DataError(
                f"{len(examples)} answers are too few, or all alike: the part {what} has {len(part.labels)} "
                "without a pair, or without both good and bad ones. Add prompts with both."
            )
    return train, choose


def fit_steering_vector(pooled: Tensor, examples: Sequence[Example]) -> Tensor:
    """Return the direction in which good and bad answers to one prompt differ most after eight tokens, (D,).

    It is the first right singular vector of d_p / ‖d_p‖, (N, D), where d_p is the mean state of a prompt's good answers
    minus that of its bad ones. For harmful prompts good answers refuse, for others they do not, so that the d_p have
    both signs; a mean would cancel them, while the singular vector does not depend on signs. Its own sign is that of
    the mean of the differences, and its length is the median length of the states.
    """
    states = pooled[:, CUTS.index(8)].chunk(2, -1)[0]  # (N, D)
    rows: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        if not example.whole:
            rows[example.key, example.is_good].append(row)
    prompts = [key for key, good in rows if good and (key, False) in rows]
    if not prompts:
        return torch.zeros_like(states[0])
    ends = (torch.stack([states[rows[key, good]].mean(0) for key in prompts]) for good in (True, False))
    differences = torch.sub(*ends)
    differences = differences / differences.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    first = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    sign = 1.0 if float(first @ differences.mean(0)) >= 0 else -1.0
    vector: Tensor = sign * first * states.norm(dim=-1).median()
    return vector


def _fit_best(
    info: HeadInfo, parts: tuple[Data, Data], recipe: Recipe, report: Callable[[str], None]
) -> tuple[HiddenStateHead, dict[str, Any]]:
    """Fit a head for each seed, and combine the best ones as the recipe says; also return its figures."""
    fits = []
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        head, quality, epoch = _fit(info, parts, recipe, seed)
        report(f"seed {seed}: {quality:.4f} on the validation prompts, best at epoch {epoch}")
        fits.append((quality, -seed, head, epoch))
    fits.sort(key=lambda fit: fit[:2], reverse=True)
    quality, seed, head, epoch = fits[0]
    if recipe.members > 1:
        head = HiddenStateHead.from_members([fit[2] for fit in fits[: recipe.members]])
    with torch.no_grad():
        whole = head(parts[1].features[:, -1])
    head.info = replace(head.info, center=float(whole.mean()), scale=max(float(whole.std()), 1e-3))
    return head, {"layer": info.layer, "seed": -seed, "epoch": epoch, "inner": round(quality, 4)}


def _fit(info: HeadInfo, parts: tuple[Data, Data], recipe: Recipe, seed: int) -> tuple[HiddenStateHead, float, int]:
    """Return the head of the best epoch, its quality and the epoch; the global generator is restored."""
    train, choose = parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HiddenStateHead(info)
        head.mean.copy_(train.features.mean((0, 1)))
        head.std.copy_(train.features.std((0, 1)).clamp(min=1e-6))
        if recipe.start is not None:
            head.mean.copy_(recipe.start.mean)
            head.std.copy_(recipe.start.std)
            if (seed - recipe.seed) % 2 == 0:
                head.mlps[0].load_state_dict(recipe.start.mlps[0].state_dict())
        optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        best, best_head, best_epoch = -math.inf, copy.deepcopy(head), 0
        for epoch in range(1, recipe.epochs + 1):
            head.train()
            for batch in torch.split(train.units[torch.randperm(len(train.units))], recipe.batch):
                optimizer.zero_grad()
                _loss(head, train, batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            quality = _mean_quality(head.eval(), choose)
            if quality > best:
                best, best_head, best_epoch = quality, copy.deepcopy(head), epoch
            elif epoch - best_epoch >= _PATIENCE:
                break
    return best_head.eval().requires_grad_(False), best, best_epoch


def _loss(head: HiddenStateHead, data: Data, units: Tensor) -> Tensor:
    """Return the mean loss of the units, (); each answer or pair has the same weight, however many cuts count."""
    batch = data._replace(units=units)
    scored, pairs = batch.scored, batch.pairs
    values = head(data.features[scored])  # (S, cuts + 1)
    labels = data.labels[scored][:, None].expand_as(values)
    entropy = binary_cross_entropy_with_logits(values, labels, reduction="none")
    lead = head(data.features[pairs[:, 0]]) - head(data.features[pairs[:, 1]])
    losses = torch.cat([entropy, softplus(-lead)])  # (U, cuts + 1)
    counts = ~torch.cat([data.whole[scored], data.whole[pairs].any(1)])[:, None].repeat(1, losses.shape[1])
    counts[:, -1] = True
    return ((losses * counts).sum(1) / counts.sum(1)).mean()


@torch.no_grad()
def _mean_quality(head: HiddenStateHead, data: Data) -> float:
    """Return the mean of the quality at eight tokens and at the end; without labels of beginnings that at the end."""
    values = head(data.features)
    beginnings = ordering_quality(values[:, CUTS.index(8)], data.without_whole)
    ends = ordering_quality(values[:, -1], data)
    return ends if math.isnan(beginnings) else (beginnings + ends) / 2
