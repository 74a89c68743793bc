"""The rewards, one file for each kind. A reward judges texts; it writes none."""

from langchain_sea.rewards.adapters import adapted, adapter_reward
from langchain_sea.rewards.classifier import RewardModel, SoftRewardModel, reward_model
from langchain_sea.rewards.encoder import EncoderReward
from langchain_sea.rewards.ensemble import Ensemble
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.guard import GuardModel, SoftGuardModel, guard_model
from langchain_sea.rewards.guard_formats import GuardFormat
from langchain_sea.rewards.hidden_state_head import HiddenStateHead, HiddenStateReward
from langchain_sea.rewards.log_ratio import LogRatioReward
from langchain_sea.rewards.math_accuracy import Consensus, MathVerifier
from langchain_sea.rewards.process_reward import ProcessReward, TokenScores
from langchain_sea.rewards.refusal_head import RefusalHead, RefusalReward
from langchain_sea.rewards.rules import ForbiddenWords, FormatRule, LengthRule, PatternRule, Rule
from langchain_sea.rewards.rules_content import CitationRule, JsonRule, LanguageRule
from langchain_sea.rewards.safety_classifier import SafetyClassifier, SoftSafetyClassifier, safety_classifier
from langchain_sea.rewards.soft_encoder import SoftEncoderReward, encoder_reward

__all__ = [
    "CitationRule",
    "Consensus",
    "EncoderReward",
    "Ensemble",
    "ForbiddenWords",
    "FormatRule",
    "FunctionReward",
    "GuardFormat",
    "GuardModel",
    "LogRatioReward",
    "JsonRule",
    "LanguageRule",
    "LengthRule",
    "MathVerifier",
    "PatternRule",
    "ProcessReward",
    "RewardModel",
    "Rule",
    "SafetyClassifier",
    "SoftEncoderReward",
    "SoftGuardModel",
    "SoftRewardModel",
    "SoftSafetyClassifier",
    "RefusalHead",
    "RefusalReward",
    "TokenScores",
    "HiddenStateHead",
    "HiddenStateReward",
    "adapted",
    "adapter_reward",
    "encoder_reward",
    "guard_model",
    "reward_model",
    "safety_classifier",
]
