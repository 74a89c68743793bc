"""The rewards, one file for each kind. A reward judges texts; it writes none."""

from langchain_sea.rewards.classifier import RewardModel, SoftRewardModel, reward_model
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.implicit import ImplicitReward
from langchain_sea.rewards.trunk import TrunkReward

__all__ = [
    "FunctionReward",
    "ImplicitReward",
    "RewardModel",
    "SoftRewardModel",
    "TrunkReward",
    "reward_model",
]
