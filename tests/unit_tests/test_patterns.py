"""All patterns of a list are looked for in one pass, with the result of one search after another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langchain_sea.safety.text import patterns
from langchain_sea.safety.text.caching import cache_short
from langchain_sea.safety.text.patterns import compile_pattern, find_matching, search_patterns

PATTERNS = (r"\brm\s+-\w+", r"^a", r"b{2,20}$", r"(?s)x.*y", r"é|É", "c", r"")
TEXTS = st.text(alphabet="abcxyéÉ \n-rm", max_size=40)


def search_each(text: str, these: tuple[str, ...]) -> list[int]:
    """Search one pattern after another."""
    return [number for number, pattern in enumerate(these) if compile_pattern(pattern).search(text)]


@given(TEXTS, st.lists(st.sampled_from(PATTERNS), max_size=5))
def test_one_pass_finds_what_single_searches_find(text: str, some: list[str]) -> None:
    """In their order, a pattern that is listed twice counted twice."""
    assert find_matching(text, tuple(some)) == search_each(text, tuple(some))


def test_patterns_that_are_too_large_together_are_searched_one_by_one() -> None:
    """RE2 compiles each of them, and not all in one automaton."""
    large = tuple(rf"{letter}(?:\w{{0,900}}[0-9]){{1}}z" for letter in "abcdefghijklmnopqrstuvwxyz")
    assert all(map(compile_pattern, large))
    assert patterns._compile_set(large) is None
    assert find_matching("xx b12z", large) == [1]


def test_a_pass_that_ran_out_of_memory_is_not_taken_for_no_match(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """It returns nothing, not even the pattern that always matches."""

    class Exhausted:
        def Match(self, text: str) -> None:  # noqa: N802 - the name in RE2
            return None

    monkeypatch.setattr(patterns, "_compile_set", lambda _: Exhausted())
    assert find_matching("cab", ("c", "d", "a")) == [0, 2]
    assert [danger.reason for danger in search_patterns("cab", (("one", "c"), ("two", "d")))] == ["one ('c')"]


def test_only_short_texts_are_remembered() -> None:
    """A long one is computed each time."""
    seen: list[str] = []

    @cache_short
    def measure(text: str) -> int:
        seen.append(text)
        return len(text)

    for text in ("short", "long" * 100):
        assert [measure(text), measure(text)] == 2 * [len(text)]
    assert seen == ["short", "long" * 100, "long" * 100]
