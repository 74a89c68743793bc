"""A head is attacked by its own refiner, and learns from what it wrongly praised. Knows no sampler's inside.

A head that never saw refined text is fooled by it: gradient finds broken and evasive texts of high value.
Each round refines against the head, has an independent judge label what came of it, and fits the head anew
with these texts among its examples.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from langchain_sea.budget import Budget
from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.energy import Energy, RewardTerm
from langchain_sea.engine.refine import refine
from langchain_sea.presets import PRESETS
from langchain_sea.rewards.hidden_state_head import HiddenStateReward
from langchain_sea.training.examples import Example, hash_fraction
from langchain_sea.training.fit_head import Fitted, Recipe, fit_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from langchain_sea.models.causal_lm import CausalLMPolicy
    from langchain_sea.rewards.hidden_state_head import HiddenStateHead

__all__ = ["Attack", "Hardening", "attack_head", "harden_head"]

_TOGETHER = 8  # prompts refined side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """How a head is followed by gradient.

    Attributes:
        steps: of every chain; more find stranger texts.
        policy_weight: λ; lower finds less fluent ones.
        chains: moved beginnings of a prompt, and as many texts.
        tokens: of a text.
        seed: of all that is drawn.
    """

    steps: int = 30
    policy_weight: float = 0.3
    chains: int = 6
    tokens: int = 32
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """What a head is hardened by.

    Attributes:
        rounds: of attack and fitting.
        judge: `(question, answers) → probabilities` that each is good, which become the labels. Never what
            will gate the answers, which must stay a second opinion; one of the same kind, made from the
            head's own side of the data.
        prompts: attacked in every round, of those that the head learned from.
        rise: nats a token above the prompt's draft from which a text is broken, whatever the judge says.
        attacks: taken in turn, prompt by prompt.
    """

    rounds: int
    judge: Callable[[str, Sequence[str]], Sequence[float]]
    prompts: int = 120
    rise: float = 1.0
    attacks: tuple[Attack, ...] = (
        Attack(steps=10),
        Attack(steps=30),
        Attack(steps=30, policy_weight=0.1),
        Attack(steps=4),
    )


def harden_head(
    examples: Sequence[Example],
    policy: CausalLMPolicy,
    hardening: Hardening,
    recipe: Recipe,
    *,
    name: str = "",
    cache: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """The head after all rounds; `figures["rounds"]` says what each found before it was mended.

    Args:
        examples: from `read_examples`; none that is held out is attacked or learned from.
        policy: whose states the head reads, and who writes.
        hardening: rounds, judge and attacks.
        recipe: of every fit.
        name: the policy's, kept with the head.
        cache: a folder for states.
        report: called with a line now and then.

    Raises:
        DataError: as `fit_head`.
    """
    learned = list(examples)
    fitted = fit_head(learned, policy, recipe, name=name, cache=cache, report=report)
    rounds: list[dict[str, Any]] = []
    for number in range(1, hardening.rounds + 1):
        chosen = _chosen(examples, hardening.prompts, number)
        found = _texts(fitted.head, policy, chosen, hardening, number)
        rounds.append(_praised(found))
        report(f"round {number}: {rounds[-1]}")
        learned += [example for example, _ in found]
        fitted = fit_head(learned, policy, recipe, name=name, cache=cache, report=report)
    figures = fitted.figures | {"rounds": rounds}
    fitted.head.info = replace(fitted.head.info, figures=figures)
    return Fitted(fitted.head, figures)


def attack_head(
    head: HiddenStateHead, policy: CausalLMPolicy, prompts: Sequence[Sequence[dict[str, Any]]], attack: Attack
) -> list[list[tuple[str, float, float]]]:
    """For each prompt its texts as (text, value, nats a token), the draft first.

    A value above zero says that the head, as it was trained, takes the text rather for good than for bad.
    """
    preset = PRESETS["default"]
    term = RewardTerm(
        reward=HiddenStateReward(head), name="head", center=head.info.center, scale=max(head.info.scale, 1e-3)
    )
    energy = Energy(policy=policy, terms=(term,), policy_weight=attack.policy_weight, max_nll_rise=None)
    chains = replace(preset.search_config.chains, num_chains=attack.chains, max_steps=attack.steps)
    found = refine(
        [policy.prompt(messages, room=attack.tokens) for messages in prompts],
        energy=energy,
        preset=replace(preset, search_config=replace(preset.search_config, chains=chains)),
        seed=attack.seed,
        budget=Budget(max_time=None),
        max_new_tokens=attack.tokens,
    )
    return [
        [(text.text, text.rewards["head"] * term.scale + term.center, text.nll) for text in each.candidates]
        for each in found
    ]


def _chosen(examples: Sequence[Example], count: int, number: int) -> list[Example]:
    """One example of each of `count` prompts, others every round, harmful and harmless as they come.

    None whose answer had been opened: an attack writes its texts from the start.
    """
    first: dict[str, Example] = {}
    for example in examples:
        if not example.held_out and not example.opening:
            first.setdefault(example.key, example)
    return sorted(first.values(), key=lambda e: hash_fraction(e.key, f"attack {number}:"))[:count]


def _texts(
    head: HiddenStateHead,
    policy: CausalLMPolicy,
    chosen: Sequence[Example],
    hardening: Hardening,
    number: int,
) -> list[tuple[Example, float]]:
    """What the attacks wrote, judged, with the head's value of it."""
    found: list[tuple[Example, float]] = []
    attacks = hardening.attacks
    with tqdm(total=len(chosen), desc=f"attacking, round {number}", unit="prompt", disable=None) as progress:
        for place, attack in enumerate(attacks):
            mine = chosen[place :: len(attacks)]
            for start in range(0, len(mine), _TOGETHER):
                part = mine[start : start + _TOGETHER]
                seeded = replace(attack, seed=attack.seed + number)
                texts = attack_head(head, policy, [e.messages for e in part], seeded)
                for example, written in zip(part, texts, strict=True):
                    found += _judged(example, written, hardening)
                progress.update(len(part))
    return found


def _judged(
    example: Example, written: Sequence[tuple[str, float, float]], hardening: Hardening
) -> list[tuple[Example, float]]:
    question, draft_nll = last_user_text(example.messages, separator="\n"), written[0][2]
    sure = hardening.judge(question, [text for text, _, _ in written])
    found = []
    for (text, value, nll), good in zip(written, sure, strict=True):
        broken = nll > draft_nll + hardening.rise
        label = 0.0 if broken else float(good)
        found.append((replace(example, answer=text, label=label, pair=None, whole=False), value))
    return found


def _praised(found: Sequence[tuple[Example, float]]) -> dict[str, Any]:
    """How many texts the head takes for good, and how many of them are."""
    praised = [example.label for example, value in found if value > 0]
    good = [example.label for example, _ in found]
    return {
        "texts": len(found),
        "good": round(statistics.fmean(good), 3),
        "praised": len(praised),
        "praised_good": round(statistics.fmean(praised), 3) if praised else None,
    }
