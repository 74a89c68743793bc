"""The rewards, one file for each kind. A reward judges texts; it writes none."""

from langchain_sea.rewards.classifier import RewardModel, SoftRewardModel, reward_model
from langchain_sea.rewards.ensemble import Ensemble
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.implicit import ImplicitReward
from langchain_sea.rewards.math_verifier import Consensus, MathVerifier
from langchain_sea.rewards.rules import ForbiddenWords, FormatRule, LengthRule, PatternRule, Rule
from langchain_sea.rewards.rules_content import CitationRule, JsonRule, LanguageRule
from langchain_sea.rewards.score_function import ScoreFunction
from langchain_sea.rewards.trunk import TrunkReward

__all__ = [
    "CitationRule",
    "Consensus",
    "Ensemble",
    "ForbiddenWords",
    "FormatRule",
    "FunctionReward",
    "ImplicitReward",
    "JsonRule",
    "LanguageRule",
    "LengthRule",
    "MathVerifier",
    "PatternRule",
    "RewardModel",
    "Rule",
    "ScoreFunction",
    "SoftRewardModel",
    "TrunkReward",
    "reward_model",
]
