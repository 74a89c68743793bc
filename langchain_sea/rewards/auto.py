"""A model's name, folder or hub id to what judges: a guard, a safety classifier, or a reward model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_sea.models import loading
from langchain_sea.rewards.classifier import RewardModel, reward_model
from langchain_sea.rewards.guard import GuardModel, guard_model
from langchain_sea.rewards.guard_formats import format_for
from langchain_sea.rewards.safety_classifier import SafetyClassifier, safety_classifier
from langchain_sea.rewards.soft_encoder import encoder_reward

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_sea.rewards.encoder import EncoderReward

__all__ = ["judge_named"]


def judge_named(
    name: str, tokenizer: PreTrainedTokenizerBase | None, device: str | None = None
) -> GuardModel | SafetyClassifier | RewardModel | EncoderReward:
    """A guard if its name is of a published family, else what the labels of a classifier say it is.

    Without the policy's tokenizer it only ranks, and nobody is told.
    """
    steers = None if tokenizer is not None else False
    guard = format_for(Path(name).name)
    if guard is not None:
        loaded = loading.load(name, device=device)
        return guard_model(loaded.model, loaded.tokenizer, guard, tokenizer, steers=steers)
    loaded = loading.load(name, kind="classifier", device=device)
    try:
        return safety_classifier(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
    except ValueError:  # its labels speak of no harm
        if getattr(loaded.model, "score", None) is None:
            return encoder_reward(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
        return reward_model(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
