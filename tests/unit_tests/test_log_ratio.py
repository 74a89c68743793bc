"""The reward that two policies imply."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from reward_cases import QUESTION, TEXTS, assert_gradient, policy, soft_view
from slow_cases import first_fast
from tiny_model import EARLY_3, data

from langchain_sea import errors, load_model
from langchain_sea.core.protocols import AnswerBatch, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards import LogRatioReward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from langchain_sea.models.prompt import PolicyPrompt


def plain_log_probs(writer: CausalLMPolicy, prompt: PolicyPrompt, ids: Sequence[int]) -> Tensor:
    """Log π of each token of y after x, by one forward without any cache."""
    rows = torch.tensor([[*prompt.ids, *ids]])
    logits = writer.model(input_ids=rows, use_cache=False).logits[0, len(prompt.ids) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)


@pytest.mark.parametrize("most", [math.inf, 5.0])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@torch.no_grad()
def test_the_implicit_reward_is_the_difference(reduction: Any, most: float) -> None:
    """Of two log-probabilities by plain forwards, whoever wrote the text; steering on hard tokens agrees."""
    expert, early, third = policy(seed=1), policy("gpt2", seed=2), policy(seed=3)
    reward = LogRatioReward(expert, early, reduction=reduction, scale=-0.5, max_early_surprise=most)
    surprises = []
    for writer in (expert, early, third):
        answers = [writer.encode(text) for text in TEXTS]
        view = AnswerBatch(writer, writer.prompt(QUESTION), Tokens.from_ids(answers))
        pairs = [[plain_log_probs(side, view.prompt, ids) for side in (expert, early)] for ids in answers]
        sums = [(better - worse.clamp(min=-most)).sum() for better, worse in pairs]
        surprises += [-worse for _, worse in pairs]
        expected = -0.5 * torch.stack(sums)
        if reduction == "mean":
            expected = expected / torch.tensor([len(ids) for ids in answers])
        torch.testing.assert_close(reward.score(view, TEXTS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reward.score_soft(view), reward.score(view, TEXTS))
    assert 0 < (torch.cat(surprises) > 5.0).float().mean() < 1
    empty = AnswerBatch(third, third.prompt(QUESTION), Tokens.from_ids([[]]))
    assert reward.score(empty, [""]).tolist() == [0.0]


@pytest.mark.parametrize("reduction", first_fast(["sum", "mean"]))
@pytest.mark.parametrize("candidates", first_fast([5, None]))
@pytest.mark.parametrize("most", [math.inf, 5.0])
def test_the_implicit_gradient_is_right(reduction: Any, candidates: int | None, most: float) -> None:
    """Against finite differences of the formula in float64, also where the expert itself writes."""
    expert, early = (policy("gpt2", seed=seed, dtype=torch.float64) for seed in (1, 2))
    reward = LogRatioReward(expert, early, reduction=reduction, max_early_surprise=most)

    def exact(view: AnswerBatch) -> Tensor:
        soft, support, mask = view.tokens
        logits = [side.forward(side.prompt(QUESTION), view.tokens).logits for side in (expert, early)]
        sides = [(soft * found.gather(-1, support)).sum(-1) - found.logsumexp(-1) for found in logits]
        difference = ((sides[0] - sides[1].clamp(min=-most)) * mask).sum(-1)
        return difference / mask.sum(-1) if reduction == "mean" else difference

    for writer in (expert, policy("gpt2", seed=3, dtype=torch.float64)):
        view = soft_view(writer, candidates=candidates)
        torch.testing.assert_close(reward.score_soft(view), exact(view), check_dtype=False, atol=1e-5, rtol=1e-5)
        assert_gradient(reward, view, exact, rtol=1e-4)


def test_no_policy_reads_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's reading is used, and another's prompt is read once."""
    expert, early = (
        CausalLMPolicy(tiny_model("llama"), tiny_tokenizer()),
        CausalLMPolicy(tiny_model("gpt2"), tiny_tokenizer()),
    )
    calls: list[str] = []
    for name, owner in (("expert", expert), ("early", early)):
        for method in ("forward_all", "prompt_from_ids"):
            kept = getattr(owner, method)

            def counted(*given: Any, _name: str = f"{name}.{method}", _kept: Any = kept) -> Any:
                calls.append(_name)
                return _kept(*given)

            monkeypatch.setattr(owner, method, counted)
    reward = LogRatioReward(expert, early)
    prompt = policy().prompt(QUESTION)
    for _ in range(3):
        view = AnswerBatch(expert, prompt, Tokens.from_ids([[40, 50]]))
        assert view.output is not None
        reward.score(view, ["x"])
    assert calls == ["expert.forward_all", "early.prompt_from_ids", "early.forward_all"] + 2 * [
        "expert.forward_all",
        "early.forward_all",
    ]


def test_the_writers_tools_are_read_too() -> None:
    """The prompt is taken as its ids, so what its messages do not hold is not lost."""
    expert, early = policy(seed=1), policy(seed=2)
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    prompt = policy().prompt(QUESTION, tools=tools)
    view = AnswerBatch(policy(), prompt, Tokens.from_ids([[40, 50]]))
    better, worse = (plain_log_probs(side, prompt, [40, 50]) for side in (expert, early))
    difference = (better - worse).sum()
    score = LogRatioReward(expert, early).score(view, ["x"])
    torch.testing.assert_close(score[0], difference, atol=1e-4, rtol=1e-4)


class Plain:
    """A prompt that holds nothing but what the protocol asks for."""

    key = "plain"
    messages = QUESTION


@torch.no_grad()
def test_a_foreign_prompt_is_written_again() -> None:
    """From its messages, in each policy's own template, whatever kind of policy it is from."""
    expert, early = policy(seed=1), policy(seed=2)
    reward = LogRatioReward(expert, early)
    view = AnswerBatch(policy(), policy().prompt(QUESTION), Tokens.from_ids([[40, 50]]))
    plain = AnswerBatch(object(), Plain(), view.tokens)  # type: ignore[arg-type]
    torch.testing.assert_close(reward.score(plain, ["x"]), reward.score(view, ["x"]))


def test_other_tokenizers_are_refused() -> None:
    """Between the two, and between them and the writer, with the share in the error."""
    foreign = load_model(EARLY_3, dtype="float32")
    with pytest.raises(errors.TokenizerMismatchError, match=r"only \d+\.\d% of the ids"):
        LogRatioReward(policy(), foreign)
    reward = LogRatioReward(policy(seed=1), policy(seed=2))
    view = AnswerBatch(foreign, foreign.prompt(QUESTION), Tokens.from_ids([[40]]))
    for act in (reward.score_soft, lambda view: reward.score(view, ["x"])):
        with pytest.raises(errors.TokenizerMismatchError, match="from one family"):
            act(view)
    with pytest.raises(ValueError, match="reduction="):
        LogRatioReward(policy(seed=1), policy(seed=2), reduction="max")  # type: ignore[arg-type]


@pytest.mark.parametrize("reduction", first_fast(["mean", "sum"]))
def test_trained_and_barely_trained_tiers_rank_right_sums(reduction: Any) -> None:
    """The reward between two checkpoints prefers a right answer to one with a wrong result."""
    expert, early = load_model("tiny/expert"), load_model(EARLY_3, dtype="float32")
    reward = LogRatioReward(expert, early, reduction=reduction)
    rng = random.Random(0)  # noqa: S311 - not for secrets
    problems = data.held_out("arithmetic", 20, "implicit")
    right = 0
    for problem in problems:
        assert isinstance(problem, data.ArithmeticProblem)
        wrong = problem.value + rng.choice([-3, -2, -1, 1, 2, 3])
        head, _, _ = problem.answer.rpartition(" ")
        texts = [f"{head} {problem.value}.", f"{head} {wrong}."]
        view = AnswerBatch(
            early, early.prompt(problem.messages), Tokens.from_ids([early.encode(text) for text in texts])
        )
        good, bad = reward.score(view, texts).tolist()
        right += good > bad
    assert right >= 18
