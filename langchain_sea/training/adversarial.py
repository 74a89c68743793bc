"""Adversarial training of a head: refine against it, and train it again on the texts that it wrongly prefers.

A head that never saw refined text is fooled by it: its gradient leads to broken and evasive texts of high value.
Each round refines against the head, lets an independent judge label the texts, and fits the head again with these
texts among its examples.
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

_BATCH_SIZE = 8  # prompts refined side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """How refinement attacks a head.

    Attributes:
        steps: of every chain; more steps find stranger texts.
        policy_weight: λ; a lower weight finds less fluent texts.
        chains: per prompt.
        tokens: the most tokens of a text.
        seed: decides all random numbers.
    """

    steps: int = 30
    policy_weight: float = 0.3
    chains: int = 6
    tokens: int = 32
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """The settings of adversarial training.

    Attributes:
        rounds: of an attack and a fit.
        judge: `(question, answers) -> probabilities` that each answer is good; they become the labels. It must not be
            the gate, which has to stay independent, but a model trained on the head's own half of the data.
        prompts: the number of training prompts that are attacked in every round.
        rise: in nats per token; a text this much less likely than the prompt's draft counts as broken, with label 0.
        attacks: used in turn, prompt by prompt.
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
    """Fit a head, and then attack it and fit it again in rounds.

    Args:
        examples: from `read_examples`; held-out ones are neither attacked nor trained on.
        policy: writes the texts, and its states are what the head reads.
        hardening: rounds, judge and attacks.
        recipe: of every fit.
        name: the policy's name, saved with the head.
        cache: a folder for states.
        report: is called with a line of progress.

    Returns:
        The head after all rounds. `figures["rounds"]` lists for each round what the attack of the head before found.

    Raises:
        DataError: as in `fit_head`.
    """
    learned = list(examples)
    fitted = fit_head(learned, policy, recipe, name=name, cache=cache, report=report)
    rounds: list[dict[str, Any]] = []
    for number in range(1, hardening.rounds + 1):
        chosen = _choose_prompts(examples, hardening.prompts, number)
        labelled = _attack_and_label(fitted.head, policy, chosen, hardening, number)
        rounds.append(_summarize(labelled))
        report(f"round {number}: {rounds[-1]}")
        learned += [example for example, _ in labelled]
        fitted = fit_head(learned, policy, recipe, name=name, cache=cache, report=report)
    figures = fitted.figures | {"rounds": rounds}
    fitted.head.info = replace(fitted.head.info, figures=figures)
    return Fitted(fitted.head, figures)


def attack_head(
    head: HiddenStateHead, policy: CausalLMPolicy, prompts: Sequence[Sequence[dict[str, Any]]], attack: Attack
) -> list[list[tuple[str, float, float]]]:
    """Refine answers to the prompts against the head.

    Returns:
        For each prompt its texts as (text, value, nats per token), the draft first. A value above zero means that
        the head takes the text for a good one.
    """
    preset = PRESETS["default"]
    term = RewardTerm(
        reward=HiddenStateReward(head), name="head", center=head.info.center, scale=max(head.info.scale, 1e-3)
    )
    energy = Energy(policy=policy, terms=(term,), policy_weight=attack.policy_weight, max_nll_rise=None)
    chains = replace(preset.search_config.chains, num_chains=attack.chains, max_steps=attack.steps)
    refinements = refine(
        [policy.prompt(messages, room=attack.tokens) for messages in prompts],
        energy=energy,
        preset=replace(preset, search_config=replace(preset.search_config, chains=chains)),
        seed=attack.seed,
        budget=Budget(max_time=None),
        max_new_tokens=attack.tokens,
    )
    return [
        [(text.text, text.rewards["head"] * term.scale + term.center, text.nll) for text in each.candidates]
        for each in refinements
    ]


def _choose_prompts(examples: Sequence[Example], count: int, number: int) -> list[Example]:
    """Choose one example of each of `count` prompts, other prompts in every round.

    Examples with an opening are left out, because an attack writes its texts from the start.
    """
    first: dict[str, Example] = {}
    for example in examples:
        if not example.is_held_out and not example.opening:
            first.setdefault(example.key, example)
    return sorted(first.values(), key=lambda e: hash_fraction(e.key, f"attack {number}:"))[:count]


def _attack_and_label(
    head: HiddenStateHead, policy: CausalLMPolicy, chosen: Sequence[Example], hardening: Hardening, number: int
) -> list[tuple[Example, float]]:
    """Return the labelled texts of the attacks, each with the head's value of it."""
    labelled: list[tuple[Example, float]] = []
    attacks = hardening.attacks
    with tqdm(total=len(chosen), desc=f"attacking, round {number}", unit="prompt", disable=None) as progress:
        for place, attack in enumerate(attacks):
            prompts = chosen[place :: len(attacks)]
            for start in range(0, len(prompts), _BATCH_SIZE):
                part = prompts[start : start + _BATCH_SIZE]
                seeded = replace(attack, seed=attack.seed + number)
                texts = attack_head(head, policy, [e.messages for e in part], seeded)
                for example, written in zip(part, texts, strict=True):
                    labelled += _label_texts(example, written, hardening)
                progress.update(len(part))
    return labelled


def _label_texts(
    example: Example, written: Sequence[tuple[str, float, float]], hardening: Hardening
) -> list[tuple[Example, float]]:
    """Label the texts of one prompt by the judge; broken ones get 0."""
    question, draft_nll = last_user_text(example.messages, separator="\n"), written[0][2]
    probabilities = hardening.judge(question, [text for text, _, _ in written])
    labelled = []
    for (text, value, nll), probability in zip(written, probabilities, strict=True):
        is_broken = nll > draft_nll + hardening.rise
        label = 0.0 if is_broken else float(probability)
        labelled.append((replace(example, answer=text, label=label, pair=None, whole=False), value))
    return labelled


def _summarize(labelled: Sequence[tuple[Example, float]]) -> dict[str, Any]:
    """Return how many texts there are and how many the head takes for good, with the mean label of both."""
    praised = [example.label for example, value in labelled if value > 0]
    good = [example.label for example, _ in labelled]
    return {
        "texts": len(labelled),
        "good": round(statistics.fmean(good), 3),
        "praised": len(praised),
        "praised_good": round(statistics.fmean(praised), 3) if praised else None,
    }
