"""Warming up reaches the shapes that answers need, and a server does it before it takes requests if it should."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.graph_cache import Capture
from langchain_sea.models.policy_forward import PolicyForward
from langchain_sea.models.static_forward import StaticRunner
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS
from langchain_sea.serving import warming
from langchain_sea.serving.config import ServerConfig
from langchain_sea.serving.warming import warm_up

PLAN = SearchPlan(groups=2, rows=2, rounds=2, tokens=4, kept=2)
SEARCH = PRESETS["default"].search_config
assert SEARCH.latent is not None
PRESET = replace(
    PRESETS["default"], search_config=replace(SEARCH, plan=PLAN, latent=replace(SEARCH.latent, companions=None))
)


def make_model(**settings: Any) -> tuple[SEAChatModel, CausalLMPolicy]:
    """Of a policy that runs batches of fixed shape, as on a GPU."""
    loaded = load_model("tiny")
    policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
    policy._lazy_forward = PolicyForward(policy.model, StaticRunner(policy.model))
    settings = {"rewards": ["tiny"], "preset": PRESET, "budget": Budget(max_time=None), "max_tokens": 8} | settings
    return SEAChatModel(model=policy, **settings), policy


def list_shapes(policy: CausalLMPolicy) -> tuple[set[Any], set[Any]]:
    """The kinds of passes, and the shapes of batches that are decoded."""
    runner, decoder = policy._forward._runner, policy._forward._decoder
    assert isinstance(runner, StaticRunner)
    assert decoder is not None
    return set(runner.graphs._functions), set(decoder._arena.batches)


@pytest.mark.slow
def test_the_shapes_of_one_and_of_two_requests_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next question needs few shapes of its own: its prompt and its texts may have other lengths."""
    monkeypatch.setattr(warming, "_MIN_TURNS", 1)  # nothing is captured on a CPU
    model, policy = make_model()
    warm_up(model, requests=2)
    passes, batches = list_shapes(policy)
    assert {kind.shape.prompts for kind in passes} >= {1, 2}
    assert any(any(kind.needs_gradient) for kind in passes)
    assert max(shape.num_rows for shape in batches) >= 2 * PLAN.num_draws
    model.invoke("What causes thunder and lightning?")
    passes_then, batches_then = list_shapes(policy)
    assert batches_then == batches
    assert len(passes_then - passes) <= len(passes) // 4


class Captures:
    """Pretends that so many graphs are captured in each turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, of_turns: list[int], *, replays: bool = True) -> None:
        self.num_batches = 3 if replays else 1  # of a turn
        self.answered: list[int] = []
        self.captures: list[Capture] = []
        self.of_turns = iter(of_turns)
        self.replays_graphs = replays
        monkeypatch.setattr(warming, "load_policy", lambda _config: self)

    def batch(self, questions: list[str]) -> None:
        assert len(set(questions)) == len(questions)
        self.answered.append(len(questions))
        if len(self.answered) % self.num_batches == 0:
            self.captures += [Capture("a pass", 0.1, 1000)] * next(self.of_turns)

    def _settings_of_call(self, *_args: object) -> tuple[None, None]:
        return None, None


@pytest.mark.parametrize(
    ("of_turns", "turns"), [([3, 0], 2), ([0, 2, 0], 3), ([2, 1, 1, 0], 4), ([0, 0], 2), ([1] * 9, 5)]
)
def test_it_ends_when_a_turn_captures_nothing(monkeypatch: pytest.MonkeyPatch, of_turns: list[int], turns: int) -> None:
    """But not with the first turn: most functions are captured when they are called again."""
    model = Captures(monkeypatch, of_turns)
    done = warm_up(model, requests=1)  # type: ignore[arg-type]
    assert len(done.seconds) == turns
    assert len(done.captures) == sum(of_turns[:turns])


def test_fewer_and_fewer_are_answered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, said = Captures(monkeypatch, [0] * 9), []
    done = warm_up(model, requests=6, report=said.append)  # type: ignore[arg-type]
    assert model.answered == [6, 4, 2, 1, 1, 1] * 2
    assert done.num_answers == 15
    assert said == ["answering 15 questions, turn 1 …", "answering 15 questions, turn 2 …"]


def test_where_no_graphs_are_replayed_one_question_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are read, and the speed is measured."""
    model = Captures(monkeypatch, [0], replays=False)
    warm_up(model, requests=8)  # type: ignore[arg-type]
    assert model.answered == [1]


@pytest.mark.parametrize(("table", "asked"), [({}, []), ({"warm_up_requests": 8}, [8])])
def test_a_server_warms_up_if_its_settings_say_so(
    monkeypatch: pytest.MonkeyPatch, table: dict[str, int], asked: list[int]
) -> None:
    pytest.importorskip("fastapi")
    from langchain_sea.serving import api_server

    warmed: list[int] = []
    monkeypatch.setattr(api_server, "warm_up", lambda _model, requests: warmed.append(requests))
    app = api_server.make_app(make_model()[0], ServerConfig.from_table(table))

    async def start() -> None:
        assert warmed == []  # an application that is only made warms nothing
        async with app.router.lifespan_context(app):
            assert warmed == asked

    asyncio.run(start())
