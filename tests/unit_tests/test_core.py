"""Small parts that several packages share: the newest user text, and suggestions for misspelt names."""

import pytest

from langchain_sea.core.conversation import last_user_text
from langchain_sea.core.suggestions import suggest
from langchain_sea.core.wording import count_of

PARTS = [{"type": "text", "text": "one"}, {"type": "image"}, "a string", {"type": "text", "text": "two"}]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], ""),
        ([{"role": "assistant", "content": "hello"}], ""),
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "second"}], "second"),
        ([{"role": "user", "content": "first"}, {"role": "assistant", "content": "hello"}], "first"),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "user", "content": PARTS}], "one, two"),
    ],
)
def test_last_user_text_is_the_newest_text_of_the_user(messages, expected):
    """Of content with several parts, the texts are joined."""
    assert last_user_text(messages, separator=", ") == expected


def test_suggest_names_the_nearest_name_or_nothing():
    assert suggest("defualt", ["default", "paper"]) == "did you mean 'default'?"
    assert suggest("xyz", ["default", "paper"]) == ""
    assert suggest("defau", ["default"], cutoff=0.9) == ""


@pytest.mark.parametrize(("number", "words"), [(0, "0 rounds"), (1, "1 round"), (2, "2 rounds")])
def test_numbers_with_nouns(number, words):
    assert count_of(number, "round") == words
