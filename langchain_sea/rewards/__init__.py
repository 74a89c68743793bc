"""Rewards and gates: what scores answers, one file for each kind, and the verifiers and safety models among them.

It may import models, engine, core and what is below them; `registry` loads rewards by name.
It does not know how answers are searched, how heads are trained (`training`), or any LangChain message.
"""

from langchain_sea.core.inputs import GateLike, RewardLike
from langchain_sea.rewards.adapters import adapter_reward, load_adapter
from langchain_sea.rewards.classifier import RewardModel, SoftRewardModel, reward_model
from langchain_sea.rewards.consensus import Consensus
from langchain_sea.rewards.encoder import EncoderReward
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.guard import GuardModel, SoftGuardModel, guard_model
from langchain_sea.rewards.guard_formats import GuardFormat
from langchain_sea.rewards.hidden_state_head import HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.log_ratio import LogRatioReward
from langchain_sea.rewards.math_accuracy import MathVerifier
from langchain_sea.rewards.process_reward import ProcessReward, TokenScores
from langchain_sea.rewards.refusal_head import RefusalHead, RefusalReward
from langchain_sea.rewards.rules import ForbiddenWords, FormatRule, LengthRule, PatternRule, Rule
from langchain_sea.rewards.rules_content import JsonRule, LanguageRule
from langchain_sea.rewards.safety_classifier import SafetyClassifier, SoftSafetyClassifier, safety_classifier
from langchain_sea.rewards.soft_encoder import SoftEncoderReward, encoder_reward

__all__ = [
    "Consensus",
    "EncoderReward",
    "ForbiddenWords",
    "FormatRule",
    "FunctionReward",
    "GateLike",
    "GuardFormat",
    "GuardModel",
    "HiddenStateHead",
    "HiddenStateReward",
    "JsonRule",
    "LanguageRule",
    "LengthRule",
    "LogRatioReward",
    "MathVerifier",
    "PatternRule",
    "ProcessReward",
    "RefusalHead",
    "RefusalReward",
    "RewardLike",
    "RewardModel",
    "Rule",
    "SafetyClassifier",
    "SoftEncoderReward",
    "SoftGuardModel",
    "SoftRewardModel",
    "SoftSafetyClassifier",
    "TokenScores",
    "adapter_reward",
    "encoder_reward",
    "guard_model",
    "load_adapter",
    "reward_model",
    "safety_classifier",
]
