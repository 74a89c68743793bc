"""Any judge that a user has becomes a reward, and a reward becomes any of them. Knows no policy's weights.

| judge of                | as our reward                   | our reward as theirs              |
|-------------------------|---------------------------------|-----------------------------------|
| TRL                     | `from_trl(function)`            | `as_trl(reward)`                  |
| openevals, agentevals   | `from_openevals(evaluator)`     | `as_openevals(reward)`            |
| LangSmith               | `from_langsmith(evaluator)`     | `as_langsmith(reward)`            |
| LangChain               | `from_runnable(runnable)`       | `as_runnable(reward)`             |
| langchain-core ≥ 1.8    | `from_decision_model(model)`    | `as_decision_model(reward)`       |

What `from_…` makes goes into `SEAChatModel(rewards=[…])`; what `as_…` takes is a function
`(prompt, completions) -> scores`, and `scorer(reward, policy)` makes one of any other reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_sea.core.protocols import AnswerBatch, ForwardRequest
from langchain_sea.core.terms import RewardTerm
from langchain_sea.errors import ExtraMissingError
from langchain_sea.interop.convert import Imported, label_of
from langchain_sea.interop.evaluators import as_langsmith, as_openevals, from_langsmith, from_openevals
from langchain_sea.interop.runnables import as_runnable, from_runnable
from langchain_sea.interop.trl import as_trl, from_trl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import Reward
    from langchain_sea.interop.convert import Messages
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = [
    "Scorer",
    "as_decision_model",
    "as_langsmith",
    "as_openevals",
    "as_runnable",
    "as_trl",
    "from_decision_model",
    "from_langsmith",
    "from_openevals",
    "from_runnable",
    "from_trl",
    "scorer",
]

_GOOD = "Is the last message a correct, helpful and harmless answer to the conversation before it?"


def from_decision_model(
    model: Any,  # noqa: ANN401 - a `BaseDecisionModel`, which core below 1.8 has not
    question: Any = _GOOD,  # noqa: ANN401 - as above
    *,
    label: str | None = None,
    yes_is_good: bool = True,
) -> Imported:
    """A decision model asked about the conversation with its answer, as a list of message dicts.

    The score is P(yes) of a `Noul`, the expected level of a `Score`, or a label's probability of a `Choice`.

    Args:
        model: a `langchain_core.decisions.BaseDecisionModel`; all answers go through its `batch`.
        question: a yes/no question in words, or a `Noul`, `Score` or `Choice`.
        label: which label's probability is the score of a `Choice`.
        yes_is_good: False scores 1 − P(yes), for questions like "is it risky?".

    Raises:
        ExtraMissingError: langchain-core is older than 1.8.
    """
    decided = _decisions().Decided(model, question, label, yes_is_good)
    return Imported(decided, str(model.model))


def as_decision_model(
    reward: Callable[..., Any],
    *,
    name: str | None = None,
    yes_is_good: bool = True,
    center: float | None = None,
    scale: float = 1.0,
) -> Any:  # noqa: ANN401 - as above
    """A decision model whose yes to any `Noul` means that the reward approves; it does not read the question.

    What it judges of the state is a `completion`, a `tool_call` as JSON, or else the last message.

    Args:
        reward: `(prompt, completions) -> scores`, which are probabilities unless there is a center.
        name: the model's; None takes the reward's own.
        yes_is_good: False where the question asks for the contrary, as `AutoModeMiddleware`'s "is it risky?".
        center: makes the probability σ((score − center) / scale).
        scale: see there.

    Raises:
        ExtraMissingError: langchain-core is older than 1.8.
    """
    options = {"yes_is_good": yes_is_good, "center": center, "scale": scale}
    return _decisions().RewardDecisionModel(model=name or label_of(reward), reward=reward, **options)


def scorer(reward: Reward, policy: CausalLMPolicy) -> Scorer:
    """A reward with `score`, as `TrunkReward` and `RewardModel` are, as a plain function to be exported.

    Args:
        reward: is shown the texts' ids under the policy, and what it asks to see of the policy's reading.
        policy: encodes the texts.
    """
    return Scorer(reward, policy)


@dataclass(frozen=True)
class Scorer:
    """See `scorer`."""

    reward: Reward
    policy: CausalLMPolicy

    @property
    def __name__(self) -> str:
        return type(self.reward).__name__

    def __call__(self, messages: Messages, completions: Sequence[str]) -> list[float]:
        """One number for each completion.

        Raises:
            RewardUnavailableError: the reward failed.
        """
        texts, term = list(completions), RewardTerm(reward=self.reward, name=self.__name__)
        prompt = self.policy.prompt([dict(message) for message in messages])
        view = AnswerBatch.from_ids(self.policy, prompt, [self.policy.encode(text) for text in texts])
        output_spec = term.required_outputs(view, differentiable_only=False)
        if output_spec:  # and not all that a view would compute when nobody says what is wanted
            (view.output,) = self.policy.forward_all([ForwardRequest(prompt, view.tokens, output_spec)])
        found: list[float] = term.score(view, texts).tolist()
        return found


def _decisions() -> Any:  # noqa: ANN401 - a module that may not be importable
    try:
        from langchain_sea.interop import decisions  # noqa: PLC0415 - core below 1.8 has none of it
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            "decision models need langchain-core 1.8 or newer, which has `langchain_core.decisions`: "
            "pip install 'langchain-core>=1.8'"
        ) from error
    return decisions
