"""A sequence classifier of harm as a reward and as a gate: the probability that an answer is safe.

The names of the labels say which are unsafe, e.g. `safe` and `unsafe`, or `toxic` and `not toxic`. Names that do not
say it are an error, because a wrong guess would reverse the reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_sea.core.protocols import NOTHING, DifferentiableReward, OutputSpec
from langchain_sea.rewards.classifier import RewardModel, reward_model
from langchain_sea.rewards.labels import Unsafe, safe_rule
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
    """A classifier that scores texts by P(safe) or its log-odds, without a gradient.

    It can be a gate, called as `gate(prompt, completions)`.

    Attributes:
        classifier: with the rule that turns its logits into the score.
        threshold: as a gate, an answer passes from this score on.
    """

    classifier: RewardModel | EncoderReward
    threshold: float = 0.5

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return nothing: the model computes its own states."""
        return NOTHING

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the scores, (C,), at least float32."""
        return self.classifier.score(view, texts)

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return the score of each answer to a question."""
        messages = [{"role": "user", "content": prompt}]
        scores: list[float] = self.classifier.judge(messages, completions).tolist()
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class SoftSafetyClassifier(SafetyClassifier):
    """A `SafetyClassifier` with a gradient."""

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the scores, (C,), differentiable in `view.tokens.soft`."""
        assert isinstance(self.classifier, DifferentiableReward)
        return self.classifier.score_soft(view)


def safety_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    unsafe: Unsafe | None = None,
    threshold: float | None = None,
    odds: bool = False,
    steers: bool | None = None,
    **options: Any,
) -> SafetyClassifier:
    """Make a `SoftSafetyClassifier` if the model can have a gradient, else a `SafetyClassifier`.

    Args:
        model: a sequence classifier; a causal one reads the conversation in its chat template, an encoder the
            question and the answer as a pair.
        tokenizer: the model's.
        policy_tokenizer: as in `reward_model`.
        unsafe: names or numbers of the labels that name harm; None reads it from the names.
        threshold: as a gate, an answer passes from this score on; None means P(safe) = 0.5.
        odds: scores are log P(safe) − log P(unsafe), which have a gradient even if the classifier is certain.
        steers: as in `reward_model`.
        options: `answer_only`: it reads the answer without its question; `chat_template`, `prompts`.

    Raises:
        ValueError: the labels do not say which are unsafe.
        TokenizerMismatchError: it cannot have a gradient, and `steers` is True.
    """
    rule = safe_rule(model.config, unsafe, odds=odds)
    if threshold is None:
        threshold = 0.0 if odds else 0.5
    make = encoder_reward if getattr(model, "score", None) is None else reward_model
    classifier = make(model, tokenizer, policy_tokenizer, steers=steers, rule=rule, **options)
    kind = SoftSafetyClassifier if isinstance(classifier, DifferentiableReward) else SafetyClassifier
    return kind(classifier, threshold)
