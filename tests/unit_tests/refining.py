"""Prompts, rewards and windows with which `refine` is tested."""

from doubles import ALPHABET, DoublePrompt, MarkovPolicy, with_fields

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.errors import RewardUnavailableError
from langchain_sea.presets import SearchConfig

PROMPTS = [DoublePrompt(f"question {i}") for i in range(8)]
PRESET_NAMES = ["default", "paper", "reference"]
FREE = Budget(max_time=None)
KINDS = [{}, {"scores_prefixes": True}, {"is_token_additive": True}]
"""What a reward says of itself, which decides how it is searched: by texts, by beginnings, by chains."""
FAILURE = RewardUnavailableError("gone")
TEXT = "abca"


def energy_of(*rewards, policy=None, **options):
    terms = tuple(RewardTerm(reward=reward, name=f"r{i}") for i, reward in enumerate(rewards))
    return Energy(policy=policy or MarkovPolicy(0), terms=terms, **options)


def ids(text):
    return [ALPHABET.index(character) for character in text]


def whole(**options):
    """A window that moves the whole answer."""
    return with_fields(
        SearchConfig(), **{"block_size": None, "num_chains": 2, "num_candidates": None, "max_steps": 3} | options
    )


def kept(found):
    """What must be equal for equal seeds: all but the time it took."""
    trace = tuple(step._replace(seconds=0.0) for step in found.trace)
    return found._replace(seconds=0.0, draft_seconds=0.0, trace=trace)
