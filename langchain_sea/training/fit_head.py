"""Examples to a trunk head. Knows no sampling.

Scored answers are learned by cross-entropy, pairs by Bradley–Terry, both at every cut of `features.CUTS`:

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

from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead
from langchain_sea.training.examples import DataError, Example, share, usable
from langchain_sea.training.features import CUTS, Pooling, features
from langchain_sea.training.metrics import Data, collected, counts, measured, quality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["Fitted", "Recipe", "fit_head"]

_DEPTH = 0.53  # of the layers: about where what a text does is told apart best
_INNER = 0.15  # of the prompts learned from choose epoch and seed
_PATIENCE = 8  # epochs without a gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a head is fitted.

    Attributes:
        layer: which of the policy's hidden states; None is 0.53 of its layers.
        epochs: the most passes over the data; the best one on prompts set aside is kept.
        seed: of the first head; the others count up from it.
        seeds: heads tried; the best on prompts set aside is kept.
        members: as many of the best, joined: the head's value is their mean less their spread.
        start: a head to go on from, of the same policy and layer; every other seed starts anew, so that
            members stay apart. None: all do.
        learning_rate: AdamW's.
        weight_decay: AdamW's; the strong default keeps a head of few examples smooth.
        batch: answers or pairs a step.
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
    """A head, and what it reaches on the prompts held out."""

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
    """The best head of several seeds, measured on the examples held out.

    Args:
        examples: from `read_examples`.
        policy: whose states the head reads; left as it is.
        recipe: None takes the defaults.
        name: the policy's, kept with the head.
        cache: a folder for the states, so that a run cut off goes on.
        report: called with a line now and then.

    Raises:
        DataError: too few prompts, or all answers alike.
    """
    started = time.monotonic()
    recipe = recipe or Recipe()
    layer = recipe.layer
    if layer is None and recipe.start is not None:
        layer = recipe.start.info.layer
    if layer is None:
        layer = round(_DEPTH * policy.model.config.get_text_config().num_hidden_layers)
    kept = usable(examples)
    learned, held = [e for e in kept if not e.held_out], [e for e in kept if e.held_out]
    pooling = Pooling(layer)
    report(f"reading {len(kept)} answers at layer {layer}")
    pooled, pooled_held = (
        features(part, policy, pooling, cache) if part else None for part in (learned, held)
    )
    if pooled is None:
        raise DataError("every example is held out or blank: there is nothing to learn from.")
    info = HeadInfo(policy=name, layer=layer, hidden_size=pooled.shape[-1] // 2, first=pooling.first)
    head, figures = _best(info, _parts(pooled, learned), recipe, report)
    if layer < policy.model.config.get_text_config().num_hidden_layers:  # nothing reads what is added above
        head.steering_vector = fit_steering_vector(pooled, learned)
    figures |= {"learned": counts(learned), "held_out": counts(held)}
    if pooled_held is not None:
        with torch.no_grad():
            figures["held_out"] |= measured(head(pooled_held), collected(pooled_held, held))
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    head.info = replace(head.info, figures=figures)
    return Fitted(head, figures)


def _parts(pooled: Tensor, examples: Sequence[Example]) -> tuple[Data, Data]:
    """What is learned from, and what chooses epoch and seed, by prompt."""
    inner = torch.tensor([share(example.asked, "inner:") < _INNER for example in examples])
    train, choose = (
        collected(pooled[which], [e for e, wanted in zip(examples, which.tolist(), strict=True) if wanted])
        for which in (~inner, inner)
    )
    for part, what in ((train, "to learn from"), (choose, "to choose by")):
        if math.isnan(quality(part.features[:, -1, 0], part)):
            raise DataError(
                f"{len(examples)} answers are too few, or all alike: the part {what} has {len(part.labels)} "
                "without a pair, or without both good and bad ones. Add prompts with both."
            )
    return train, choose


def fit_steering_vector(pooled: Tensor, examples: Sequence[Example]) -> Tensor:
    """(D,) along which answers to one prompt differ most between good and bad, after eight tokens.

    The first right singular vector of the prompts' differences d_p / ‖d_p‖, d_p the mean of its good answers'
    less that of its bad ones', (N, D). Good lies one way for some prompts and the other way for others (what
    harms is to be refused, what helps is not), which a mean would cancel and the singular vector, blind to
    sign, does not. Its own sign is that of the mean; it is as long as the states are in the median.
    """
    states = pooled[:, CUTS.index(8)].chunk(2, -1)[0]  # (N, D)
    rows: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        if not example.whole:
            rows[example.key, example.label > 0.5].append(row)  # noqa: PLR2004 - half way between bad and good
    prompts = [key for key, good in rows if good and (key, False) in rows]
    if not prompts:
        return torch.zeros_like(states[0])
    ends = (torch.stack([states[rows[key, good]].mean(0) for key in prompts]) for good in (True, False))
    differences = torch.sub(*ends)
    differences = differences / differences.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    first = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    sign = 1.0 if float(first @ differences.mean(0)) >= 0 else -1.0
    found: Tensor = sign * first * states.norm(dim=-1).median()
    return found


def _best(
    info: HeadInfo, parts: tuple[Data, Data], recipe: Recipe, report: Callable[[str], None]
) -> tuple[HiddenStateHead, dict[str, Any]]:
    tried = []
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        found, quality, epoch = _fit(info, parts, recipe, seed)
        report(f"seed {seed}: {quality:.4f} on the prompts set aside, best at epoch {epoch}")
        tried.append((quality, -seed, found, epoch))
    tried.sort(key=lambda each: each[:2], reverse=True)
    quality, seed, head, epoch = tried[0]
    if recipe.members > 1:
        head = HiddenStateHead.joined([found for _, _, found, _ in tried[: recipe.members]])
    with torch.no_grad():
        whole = head(parts[1].features[:, -1])
    head.info = replace(head.info, center=float(whole.mean()), scale=max(float(whole.std()), 1e-3))
    return head, {"layer": info.layer, "seed": -seed, "epoch": epoch, "inner": round(quality, 4)}


def _fit(
    info: HeadInfo, parts: tuple[Data, Data], recipe: Recipe, seed: int
) -> tuple[HiddenStateHead, float, int]:
    """The head at its best epoch, its quality there, and the epoch; the global generator is left alone."""
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
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        best, kept, best_epoch = -math.inf, copy.deepcopy(head), 0
        for epoch in range(1, recipe.epochs + 1):
            head.train()
            for batch in torch.split(train.units[torch.randperm(len(train.units))], recipe.batch):
                optimizer.zero_grad()
                _loss(head, train, batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            quality = _both_ends(head.eval(), choose)
            if quality > best:
                best, kept, best_epoch = quality, copy.deepcopy(head), epoch
            elif epoch - best_epoch >= _PATIENCE:
                break
    return kept.eval().requires_grad_(False), best, best_epoch


def _loss(head: HiddenStateHead, data: Data, units: Tensor) -> Tensor:
    batch = data._replace(units=units)
    scored, pairs = batch.scored, batch.pairs
    values = head(data.features[scored])  # (S, cuts + 1)
    labels = data.labels[scored][:, None].expand_as(values)
    entropy = binary_cross_entropy_with_logits(values, labels, reduction="none")
    lead = head(data.features[pairs[:, 0]]) - head(data.features[pairs[:, 1]])
    losses = torch.cat([entropy, softplus(-lead)])  # (U, cuts + 1)
    counted = ~torch.cat([data.whole[scored], data.whole[pairs].any(1)])[:, None].repeat(1, losses.shape[1])
    counted[:, -1] = True
    return ((losses * counted).sum(1) / counted.sum(1)).mean()  # each answer counts alike


@torch.no_grad()
def _both_ends(head: HiddenStateHead, data: Data) -> float:
    """The mean of the quality at eight tokens and at the end: a head must judge both."""
    values = head(data.features)
    return (quality(values[:, CUTS.index(8)], data.begun) + quality(values[:, -1], data)) / 2
