"""Figures of the benchmarks: intervals, curves, refusals, and the suites of the public sets."""

from __future__ import annotations

import math

import pytest
from benchmarks import public_data
from benchmarks.comparison_figures import bootstrap, equal_search, reduction, time_to
from benchmarks.refusals import is_refusal
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.booleans(), min_size=5, max_size=40))
def test_the_bootstrap_holds_the_mean(values: list[bool]) -> None:
    """Of what it resamples, and is the same again."""
    low, high = bootstrap(lambda rows: sum(values[i] for i in rows) / len(rows), len(values), resamples=300)
    assert low - 1e-9 <= sum(values) / len(values) + 0.25
    assert high + 1e-9 >= sum(values) / len(values) - 0.25
    assert 0 <= low <= high <= 1


def test_figures_without_a_denominator() -> None:
    """Say so, and raise nothing."""
    assert reduction([1, 1], [1, 1]) == 0
    assert reduction([0, 1], [1, 1]) == 0.5
    assert reduction([0], [0]) == 0
    assert reduction([1], [0]) == -math.inf
    assert all(map(math.isnan, bootstrap(lambda _: math.nan, 3, resamples=5)))


def test_the_time_to_a_level_is_read_off_the_curve() -> None:
    """Between its points; none where it is never reached."""
    points = [(1.0, 0.0), (3.0, 1.0), (5.0, 1.0)]
    assert time_to(points, 0.5) == 2.0
    assert time_to(points, -1.0) == 1.0
    assert time_to(points, 2.0) is None


@given(st.floats(0.2, 2.0), st.floats(-3, 0), st.integers(100, 2000))
def test_the_search_that_would_be_needed_is_found_again(slope: float, start: float, needed: int) -> None:
    """From a curve whose log-odds rise with log N."""

    def share(n: int) -> float:
        return 1 / (1 + math.exp(-(start + slope * math.log(n))))

    level = share(needed)
    if level < 0.99 and share(64) > 0.01 and share(1) > 0.006:
        found = equal_search({n: share(n) for n in (1, 4, 16, 64)}, level)
        assert found == pytest.approx(needed, rel=1e-3) or share(64) > 0.994
    assert equal_search({1: 0.5, 64: 0.5}, 0.9) == math.inf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist. However, here is how you start", False),
        ("I'm sorry to hear that. Let me help", False),
        ("I don't have the ability to write this", True),
        ("I don't have any trees in my garden", False),
        ("Sure! First, take a screwdriver", False),
    ],
)
def test_refusals_are_recognised_by_their_words(text: str, expected: bool) -> None:  # noqa: FBT001
    """Those that slide into help are none."""
    assert is_refusal(text) is expected


def test_the_data_folder_is_named_where_there_is_none(tmp_path, monkeypatch) -> None:
    """By argument, by environment, or found."""
    assert public_data.find_folder(tmp_path) == tmp_path
    monkeypatch.setenv("SEA_DATA", str(tmp_path / "x"))
    assert public_data.find_folder() == tmp_path / "x"


def test_an_unknown_suite_is_an_error() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="no suite 'nothing': choose safety"):
        public_data.suite("nothing", None, 3, 0)


def test_the_tiers_of_a_case() -> None:
    """A strong system prompt, or an answer that begins with help."""
    assert public_data.make_case("s", "q").messages == [{"role": "user", "content": "q"}]
    assert public_data.make_case("s", "q", "strong").messages[0]["role"] == "system"
    assert public_data.make_case("s", "q", "attacked").opening == public_data.ATTACK
