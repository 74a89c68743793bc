"""A sequence classifier of harm as a reward and as a gate: the probability that an answer is safe.

Which labels are unsafe is read from their names, as `safe` and `unsafe` or `toxic` and `not toxic`; names
that do not say it are an error, for a guess would turn the reward around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_sea.core.protocols import NOTHING, DifferentiableReward, OutputSpec
from langchain_sea.rewards.classifier import RewardModel, reward_model
from langchain_sea.rewards.labels import safe_rule
from langchain_sea.rewards.soft_encoder import encoder_reward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.rewards.encoder import EncoderReward

__all__ = ["SafetyClassifier", "SoftSafetyClassifier", "safety_classifier"]


@dataclass(frozen=True, slots=True, eq=False)
class SafetyClassifier:
    """Ranks by P(safe), or its log-odds, and gates: called as `gate(prompt, completions)`.

    Attributes:
        reads: the classifier with its rule.
        threshold: of what passes as a gate, in the units of the score.
    """

    reads: RewardModel | EncoderReward
    threshold: float = 0.5

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - nothing of any
        """It reads by itself."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """(C,) as `RewardModel.score`."""
        return self.reads.score(view, texts)

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """A score for each answer to a question."""
        found: list[float] = self.reads.judge([{"role": "user", "content": prompt}], completions).tolist()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class SoftSafetyClassifier(SafetyClassifier):
    """Steers as well."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) differentiable in `view.tokens.soft`."""
        assert isinstance(self.reads, DifferentiableReward)
        return self.reads.score_soft(view)


def safety_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    unsafe: Any = None,  # noqa: ANN401 - names, numbers
    threshold: float | None = None,
    odds: bool = False,
    steers: bool | None = None,
    **options: Any,
) -> SafetyClassifier:
    """A classifier of harm, which steers if it can.

    Args:
        model: a sequence classifier; a causal one reads the conversation in its chat template, an encoder the
            question and the answer as a pair.
        tokenizer: the model's.
        policy_tokenizer: as for `reward_model`.
        unsafe: names or numbers of the labels that speak of harm; None reads the names.
        threshold: of what passes as a gate; None is P(safe) = 0.5.
        odds: scores are log P(safe) − log P(unsafe), which have a gradient where the classifier is sure.
        steers: as for `reward_model`.
        options: `answer_only`: it reads the answer without its question; `chat_template`, `prompts`.

    Raises:
        ValueError: the labels do not say which are unsafe.
        TokenizerMismatchError: it cannot steer, and `steers` is True.
    """
    rule = safe_rule(model.config, unsafe, odds=odds)
    at = (0.0 if odds else 0.5) if threshold is None else threshold
    if getattr(model, "score", None) is None:
        encoder = encoder_reward(model, tokenizer, policy_tokenizer, steers=steers, rule=rule, **options)
        return (SoftSafetyClassifier if isinstance(encoder, DifferentiableReward) else SafetyClassifier)(
            encoder, at
        )
    reads = reward_model(model, tokenizer, policy_tokenizer, steers=steers, rule=rule, **options)
    return (SoftSafetyClassifier if isinstance(reads, DifferentiableReward) else SafetyClassifier)(reads, at)
