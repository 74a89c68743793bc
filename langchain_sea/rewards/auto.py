"""Load a model by its name, folder or hub id as a guard, a safety classifier, or a reward model."""

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

__all__ = ["load_judge"]


def load_judge(
    name: str, tokenizer: PreTrainedTokenizerBase | None, device: str | None = None
) -> GuardModel | SafetyClassifier | RewardModel | EncoderReward:
    """Load a guard if the name is of a published family, else what the labels of a classifier say it is.

    Args:
        name: a name, folder or hub id.
        tokenizer: the policy's; without it the reward has no gradient, and no warning says so.
        device: as in `loading.load`.
    """
    steers = None if tokenizer is not None else False
    guard = format_for(Path(name).name)
    if guard is not None:
        loaded = loading.load(name, device=device)
        return guard_model(loaded.model, loaded.tokenizer, guard, tokenizer, steers=steers)
    loaded = loading.load(name, kind="classifier", device=device)
    try:
        return safety_classifier(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
    except ValueError:  # its labels do not name any harm
        if getattr(loaded.model, "score", None) is None:
            return encoder_reward(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
        return reward_model(loaded.model, loaded.tokenizer, tokenizer, steers=steers)
