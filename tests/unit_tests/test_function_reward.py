"""What functions promise as rewards: equal texts, conversations, failures, time limits."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import QUESTION, TEXTS, policy, view_of

from langchain_sea import errors
from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Reward, Tokens
from langchain_sea.core.terms import RewardTerm
from langchain_sea.models.prompt import PolicyPrompt, Prefill
from langchain_sea.rewards import FunctionReward

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def ask(function: Callable[..., Any], texts: Sequence[str] = TEXTS, **options: Any) -> list[float]:
    scores = FunctionReward(function, **options).score(view_of(texts), texts)
    assert scores.dtype == torch.float32
    return scores.tolist()


def lengths(_prompt: str, completions: list[str]) -> list[int]:
    return [len(text) for text in completions]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda x: np.array(x, np.float32)])
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_function_scores_every_text(kind: Callable[..., Any], timeout: float | None) -> None:
    """Lists, tuples, arrays and tensors alike, in the texts' order, in a thread or not."""
    scores = ask(lambda prompt, completions: kind(lengths(prompt, completions)), timeout=timeout)
    assert scores == [len(text) for text in TEXTS]


@given(st.lists(st.text("abc", max_size=3), min_size=1, max_size=8))
@settings(max_examples=30)
def test_equal_texts_are_asked_once(texts: list[str]) -> None:
    """What the function sees has no repeats, and every text gets its own score."""
    seen: list[list[str]] = []

    def function(prompt: str, completions: list[str]) -> list[int]:
        seen.append(list(completions))
        completions.append("a function may change its list")
        return lengths(prompt, completions[:-1])

    view = view_of(["no"])
    assert FunctionReward(function).score(view, texts).tolist() == [len(text) for text in texts]
    assert seen == [list(dict.fromkeys(texts))]


def test_a_function_gets_the_last_user_message() -> None:
    """The prompt is the newest user text: plain, in parts, or empty if no user spoke."""
    seen: list[str] = []

    def function(prompt: str, completions: list[str]) -> list[int]:
        seen.append(prompt)
        return lengths(prompt, completions)

    writer, tokens = policy(), Tokens.from_ids([[40]])
    parts = [{"type": "text", "text": "a "}, {"type": "image"}, {"type": "text", "text": "b"}]
    for content in (QUESTION, [{"role": "user", "content": parts}], [{"role": "system", "content": "x"}]):
        prompt = PolicyPrompt(tuple(content), (1,), Prefill(tuple))
        FunctionReward(function).score(AnswerBatch(writer, prompt, tokens), ["no"])
    assert seen == ["what is two and three?", "a b", ""]


def test_a_function_with_messages_gets_the_conversation() -> None:
    """By name, in any order of parameters, and as copies."""

    def function(completions: list[str], messages: list[dict[str, Any]]) -> list[int]:
        messages[0]["role"] = "changed"
        return [len(messages)] * len(completions)

    view = view_of(["no"])
    assert FunctionReward(function).score(view, ["no"]).tolist() == [4]
    assert view.prompt.messages[0]["role"] == "system"
    with pytest.raises(TypeError, match="completions"):
        FunctionReward(lambda messages, answers: [0.0 for _ in (messages, answers)])


def test_a_function_without_a_signature_gets_the_prompt() -> None:
    """Some written in C tell no parameters; they are called with two arguments."""
    with pytest.raises(errors.RewardUnavailableError, match="'max' raised TypeError"):
        ask(max)


class Unreal:
    """A list-like value that is no number."""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1.0, float("nan"), 3.0, 4.0], "nan for 'no'"),
        ([1.0, float("inf"), 3.0, 4.0], "inf for 'no'"),
        (torch.tensor([1.0, 2.0, 3.0, -torch.inf]), "-inf for 'five'"),
        ([1.0, 1e300, 3.0, 4.0], r"1e\+300 for 'no'"),
        ([1.0, 10**400, 3.0, 4.0], "for 'no'"),
        ([1.0, "2.0", 3.0, 4.0], "'2.0' for 'no'"),
        ([1.0, b"2", 3.0, 4.0], "b'2' for 'no'"),
        ([1.0, None, 3.0, 4.0], "None for 'no'"),
        ([1.0, [2.0], 3.0, 4.0], r"\[2.0\] for 'no'"),
        ([1.0, 2j, 3.0, 4.0], "2j for 'no'"),
        (torch.ones(4, 1), "not a finite number"),
        (np.ones((4, 2)), "not a finite number"),
        ([torch.ones(2)] * 4, "not a finite number"),
        ([Unreal()] * 4, "not a finite number"),
        ([1.0, 2.0, 3.0], "3 scores"),
        ([1.0] * 5, "5 scores"),
        ([], "0 scores"),
        (np.zeros(0), "0 scores"),
        ("1234", "not a list"),
        (None, "not a list"),
        (0.5, "not a list"),
        (torch.tensor(0.5), "not a list"),
        ({1.0, 2.0, 3.0, 4.0}, "not a list"),
        (dict.fromkeys("abcd", 1.0), "not a list"),
        ((x for x in (1.0, 2.0, 3.0, 4.0)), "not a list"),
    ],
)
def test_bad_scores_are_never_believed(returned: object, said: str) -> None:
    """The error names the reward, the value and what should have been."""
    with pytest.raises(errors.RewardUnavailableError, match=rf"'graded'.*{said}.*must return one finite"):
        ask(lambda *_: returned, name="graded")


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("raised", [ValueError("bad text"), TimeoutError("slow grader"), KeyError("x")])
def test_a_function_that_raises_is_unavailable(raised: Exception, timeout: float | None) -> None:
    """Whatever it raised is the cause, also a timeout of its own."""

    def grader(*_: object) -> None:
        raise raised

    with pytest.raises(errors.RewardUnavailableError, match=rf"'grader' raised {type(raised).__name__}") as info:
        ask(grader, timeout=timeout)
    assert info.value.__cause__ is raised


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(kind: type[BaseException], timeout: float | None) -> None:
    """It is the user's, not the reward's."""

    def function(*_: object) -> None:
        raise kind

    with pytest.raises(kind):
        ask(function, timeout=timeout)


def test_a_function_that_never_returns_is_given_up() -> None:
    """After `timeout` seconds, with the number in the error."""
    release, before = threading.Event(), set(threading.enumerate())
    with pytest.raises(errors.RewardUnavailableError, match=r"within 0\.2 seconds"):
        ask(lambda *_: release.wait(), timeout=0.2)
    assert not [t for t in threading.enumerate() if not t.daemon and t not in before]
    release.set()


@pytest.mark.slow
def test_a_function_that_never_returns_holds_no_process() -> None:
    """The thread left behind does not keep the interpreter from ending."""
    program = (
        "import threading\n"
        "from langchain_sea.core.timeouts import run_with_timeout\n"
        "try: run_with_timeout(0.1, threading.Event().wait)\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "LateError"


def test_a_function_reward_is_plain() -> None:
    """It pickles with its function, cannot steer, and its thread keeps no gradient."""
    again = pickle.loads(pickle.dumps(FunctionReward(lengths, name="length", timeout=3.0)))  # noqa: S301
    assert again == FunctionReward(lengths, name="length", timeout=3.0)
    reward: Reward = again
    assert not isinstance(reward, DifferentiableReward)
    assert RewardTerm(reward=reward, name="length").reward is reward
    assert ask(lambda _, texts: [float(torch.is_grad_enabled())] * len(texts)) == [0.0] * len(TEXTS)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_positive(timeout: float) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ValueError, match="timeout="):
        FunctionReward(lengths, timeout=timeout)
