"""The comparison with other tools: its stopping rule, its count of lines, and its tables. Runs none of the tools."""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

import peers_methods
import peers_servers
from peers_figures import add_gains, compare, group, summarize, write_ratios, write_table
from peers_methods import EXAMPLES, METHODS, count_lines, lines_needed, why_missing
from peers_pace import MOST, Pace, spend

from langchain_sea.serving.config import make_model


class Machine:
    """A clock that calls move on: a call of n samples takes (fixed + each · n) seconds."""

    def __init__(self, fixed: float, each: float) -> None:
        self.fixed, self.each, self.now, self.asked = fixed, each, 0.0, list[int]()

    def clock(self) -> float:
        return self.now

    def call(self, samples: int) -> str:
        self.asked.append(samples)
        self.now += self.fixed + self.each * samples
        return f"best of {samples}"


def test_one_call_has_as_many_samples_as_fit() -> None:
    machine = Machine(fixed=1.0, each=0.5)
    rounds = spend(10.0, machine.call, Pace(1.0, 0.5), clock=machine.clock)
    assert rounds == [(18, "best of 18")]
    assert machine.now == 10.0


def test_the_first_call_is_made_even_if_it_takes_longer() -> None:
    machine = Machine(fixed=30.0, each=1.0)
    assert spend(10.0, machine.call, Pace(30.0, 1.0), clock=machine.clock) == [(1, "best of 1")]


def test_calls_are_repeated_where_one_may_not_have_all_samples() -> None:
    machine = Machine(fixed=0.0, each=0.125)
    rounds = spend(12.0, machine.call, Pace(0.0, 0.125), clock=machine.clock)
    assert [each.samples for each in rounds] == [MOST, 96 - MOST]


def test_a_pace_learns_that_a_machine_has_become_slow() -> None:
    pace = Pace(1.0, 0.5)
    before = pace.count(10.0)
    pace.learn(18, seconds=40.0)
    assert pace.slowness == 2.0
    assert 0 < pace.count(10.0) < before


def test_a_pace_is_the_line_through_two_calls() -> None:
    pace = Pace.fit((2, 4.0), (8, 7.0))
    assert (pace.fixed, pace.each) == (3.0, 0.5)


def test_a_call_has_at_most_twice_as_many_samples_as_were_tried() -> None:
    """Where both calls took as long, a sample seems to cost nothing, until calls of more samples show what it costs."""
    machine, pace = Machine(fixed=1.0, each=4.0), Pace.fit((2, 4.0), (8, 4.0))
    spend(10.0, machine.call, pace, clock=machine.clock)
    assert machine.asked == [16]
    spend(10.0, machine.call, pace, clock=machine.clock)
    assert machine.asked[1] < 16


@given(st.floats(0.1, 60), st.floats(0, 5), st.floats(0.05, 5))
def test_where_the_pace_is_right_the_time_is_used_and_not_exceeded(limit: float, fixed: float, each: float) -> None:
    machine = Machine(fixed, each)
    rounds = spend(limit, machine.call, Pace(fixed, each), clock=machine.clock)
    shortest = fixed + each
    assert machine.now <= max(limit, shortest) + 1e-6
    assert limit - machine.now < shortest + 1e-6, "one more call would have fitted"
    assert all(1 <= round_.samples <= MOST for round_ in rounds)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("x = 1\n", 1),
        ('"""What it\ndoes."""\n\n# why\nx = 1  # one\n', 1),
        ("call(\n    1,\n\n    2,  # two\n)\n", 4),
        ('def f():\n    """Doc."""\n    return "text"\n', 2),
        ('text = """a\nb\nc"""\n', 3),
    ],
)
def test_lines_are_those_of_code(source: str, lines: int) -> None:
    assert count_lines(source) == lines


def test_an_example_counts_with_the_files_it_imports() -> None:
    client = count_lines((EXAMPLES / "its_hub_client.py").read_text(encoding="utf-8"))
    alone = count_lines((EXAMPLES / "its_hub_particles.py").read_text(encoding="utf-8"))
    assert lines_needed("its_hub_particles") == client + alone > client > 0
    assert {f"{file}.py" for method in METHODS.values() for file in method.files} == {
        path.name for path in EXAMPLES.glob("*.py")
    }


def test_a_tool_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> Any:
        message = "No module named 'trl'"
        raise ModuleNotFoundError(message)

    monkeypatch.setattr(peers_methods, "import_module", fail)
    assert why_missing("trl_best_of_n", "optillm") == "No module named 'trl': run `pip install trl==0.24.0`"
    assert "--optillm" in (why_missing("optillm_best_of_n", "no-such-program") or "")
    assert why_missing("optillm_best_of_n", sys.executable) is None


def test_an_example_gets_what_its_parameters_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(example: Callable[..., Any]) -> Any:
        monkeypatch.setattr(peers_methods, "import_module", lambda _name: type("E", (), {"make_answerer": example}))
        bench = peers_methods.Bench.__new__(peers_methods.Bench)
        bench.max_tokens, bench.seed, bench._urls = 40, 7, {"endpoint": "http://here"}
        bench.policy = type("P", (), {"model": "weights", "tokenizer": "words"})  # type: ignore[assignment]
        return bench.make("transformers")

    assert make(lambda model, tokenizer, max_tokens: (model, tokenizer, max_tokens)) == ("weights", "words", 40)
    assert make(lambda endpoint, seed: (endpoint, seed)) == ("http://here", 7)


def test_the_endpoint_serves_the_policy_without_a_reward(tmp_path: Path) -> None:
    template = tmp_path / "continuing.jinja"
    template.write_text(peers_servers.CONTINUING, encoding="utf-8")
    settings = tomllib.loads(peers_servers.SETTINGS.format(dtype="float32", template=template))
    model = make_model(settings)
    assert model.rewards == []
    assert (model.budget.max_evaluations, model.budget.max_time, model.dtype) == (1, None, "float32")


def test_a_server_that_ends_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_url: str, timeout: float) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(peers_servers.urllib.request, "urlopen", refuse)
    command = [sys.executable, "-c", "print('no such setting'); raise SystemExit(2)"]
    with pytest.raises(RuntimeError, match=r"ended: no such setting"), peers_servers.running(command, {}, port=0):
        pass


def _row(method: str, question: str, *, passes: bool, reward: float, seconds: float, **more: Any) -> dict[str, Any]:
    read = {"passes": passes, "reward": reward, "seconds": seconds}
    return {"method": method, "question": question} | read | more


ROWS = [
    _row("default", "a", passes=True, reward=3.0, seconds=10.0, samples=None, plain_reward=1.0, outside_nats=2.0),
    _row("default", "b", passes=True, reward=2.0, seconds=12.0, samples=None, plain_reward=0.0, outside_nats=3.0),
    _row("default", "c", passes=False, reward=0.0, seconds=90.0, samples=None, plain_reward=0.0, outside_nats=9.0),
    _row("other", "b", passes=False, reward=1.0, seconds=6.0, samples=20, outside_nats=4.0),
    _row("other", "a", passes=True, reward=2.0, seconds=5.0, samples=10, outside_nats=math.nan),
]


def test_figures_are_of_the_questions_that_all_methods_answered() -> None:
    grouped = group(add_gains(ROWS), ["default", "other"])
    assert [[row["question"] for row in rows] for rows in grouped.values()] == [["a", "b"], ["a", "b"]]
    found = summarize(grouped, {"default": 6, "other": 17})
    assert found["default"]["passes"]["value"] == 1.0
    assert found["default"]["reward_gain"]["value"] == 2.0
    assert found["default"]["seconds"]["value"] == 11.0
    assert "samples" not in found["default"], "it has none"
    assert (found["other"]["samples"]["value"], found["other"]["lines"]) == (15, 17)
    assert found["other"]["outside_nats"]["value"] == 4.0, "an empty answer has no reading"
    table = write_table(found).splitlines()
    assert table[2].startswith("| `default` | 1.00 (1.00 to 1.00) | 2.00 | 2.50 | – | 11.00 | – | 6 |")
    assert "| 15 | 17 |" in table[3]


def test_ratios_are_ours_over_theirs_and_null_where_theirs_is_nothing() -> None:
    grouped = group(add_gains(ROWS), ["default", "other"])
    ratios = compare(grouped, {"default": 6, "other": 12}, "default")["other"]
    assert ratios["passes"]["value"] == 2.0
    assert ratios["reward_gain"]["value"] == 2.0
    assert ratios["seconds"]["value"] == 2.0
    assert ratios["lines"] == 0.5
    assert write_ratios({"other": ratios}, "default").endswith(
        "| `other` | 2.00 (1.00 to 2.00) | 2.00 | 2.00 | 0.50 |\n"
    )
    for row in grouped["other"]:
        row["passes"] = False
    nothing = compare(grouped, {"default": 6, "other": 12}, "default")["other"]["passes"]
    assert (nothing["value"], nothing["interval"]) == (None, None)
