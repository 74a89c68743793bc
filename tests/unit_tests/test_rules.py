"""Rules: the same score for the same text always, and an error where there is none."""

from __future__ import annotations

import pickle
import socket
import sys
import types

import pytest
from doubles import DoublePrompt, MarkovPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea import errors
from langchain_sea.core.protocols import AnswerBatch
from langchain_sea.rewards import rules_content
from langchain_sea.rewards.function import FunctionReward
from langchain_sea.rewards.rules import ForbiddenWords, FormatRule, LengthRule, PatternRule
from langchain_sea.rewards.rules_content import JsonRule, LanguageRule

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
RULES = [
    LengthRule(3, 9, shoulder=4),
    LengthRule(2, unit="characters"),
    LengthRule(most=5, unit=len, shoulder=5),
    FormatRule(TAGS),
    FormatRule(("## Why", "## How"), whole_lines=True, once=False),
    PatternRule(r"(?i)\byes\b"),
    PatternRule(r"\d", must=False),
    ForbiddenWords(("bad", "worse still")),
    JsonRule(),
    JsonRule(SCHEMA),
]
PIECES = [*TAGS, "yes", "bad", "## Why", "\n", " ", "7", "[1]", "[3]", "[9]", '{"name": "x"}', "{", "\x00", "\ud800"]


def one(rule, text, prompt=""):
    (score,) = rule(prompt, [text])
    return score


# All of them


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=5), st.randoms())
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_score_is_the_texts_own(rule, texts, random):
    """In [0, 1], whatever stands beside the text, in any order, and after pickling."""
    alone = {text: one(rule, text) for text in texts}
    assert all(0 <= score <= 1 for score in alone.values())
    shuffled = [*texts, *texts]
    random.shuffle(shuffled)
    again = pickle.loads(pickle.dumps(rule))  # noqa: S301 - ours
    assert again == rule
    assert again("", shuffled) == [alone[text] for text in shuffled]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("text", ["[" * 10**5, "```\n" + " " * 10**5, "[1," * 10**5, "<think>" * 10**4, " " * 10**5])
def test_hostile_texts_end(rule, text):
    """A regular expression that backtracks would run into pytest's timeout."""
    assert 0 <= one(rule, text) <= 1


def test_as_a_reward():
    """`FunctionReward` asks them as any function."""
    writer = MarkovPolicy(0)
    texts = ["one two", "one"]
    view = AnswerBatch.from_ids(writer, DoublePrompt("say"), [writer.encode(text) for text in texts])
    assert FunctionReward(LengthRule(2)).score(view, texts).tolist() == [1.0, 0.0]


# Length


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 6), st.integers(0, 30))
def test_length_falls_straight_outside_its_range(least, width, shoulder, length):
    """1 inside, 0 from the shoulder's end on, and a line between."""
    rule = LengthRule(least, least + width, shoulder=shoulder)
    outside = max(least - length, length - least - width, 0)
    expected = 1.0 if not outside else max(0.0, 1 - outside / shoulder) if shoulder else 0.0
    assert one(rule, "word " * length) == pytest.approx(expected)


def test_units_of_length():
    """Words between spaces, characters however they are composed, or whatever a function counts."""
    assert one(LengthRule(2, 2), " one\n two ") == 1
    assert one(LengthRule(1, 1, unit="characters"), "e\u0301") == 1
    assert one(LengthRule(3, 3, unit=lambda text: text.count("a")), "banana") == 1
    with pytest.raises(errors.RewardUnavailableError, match="unit="):
        one(LengthRule(1, unit=lambda _text: None), "x")


@pytest.mark.parametrize(
    "wrong", [{"least": -1}, {"least": 3, "most": 2}, {"shoulder": -1.0}, {"shoulder": float("nan")}, {"unit": "lines"}]
)
def test_a_length_makes_sense(wrong):
    """Or is refused at once."""
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        LengthRule(**wrong)


# Format


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>a</think>\n<answer>b</answer>", 1.0),
        ("<think>a</think>", 0.5),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0.5),
        ("<answer>b</answer><think>a</think>", 0.5),
        ("a", 0.0),
    ],
)
def test_parts_stand_in_order(text, score):
    """As far as they do, and each once."""
    assert one(FormatRule(TAGS), text) == score


def test_headings_are_lines():
    """Not a part of another heading, and not in the middle of a line."""
    rule = FormatRule(("## Why", "## How"), whole_lines=True)
    assert one(rule, "## Why\nso\n  ## How \nthus") == 1
    assert one(rule, "### Why\nso\n## How") == 0
    assert one(rule, "see ## Why\n## How") == 0
    assert one(FormatRule(("---", "---")), "---a---") == 1
    assert one(FormatRule(("a",), once=False), "a a") == 1
    assert one(FormatRule(("a",)), "a a") == 0


@pytest.mark.parametrize("parts", [(), "<a>", ("a", " ")])
def test_parts_are_texts(parts):
    """At least one, none blank, and not the letters of one text."""
    with pytest.raises(ValueError, match="parts="):
        FormatRule(parts)


# Patterns


@given(st.text(alphabet="ab1", max_size=8))
def test_a_pattern_must_or_must_not_match(text):
    """As `in` and `==` say of a literal."""
    assert one(PatternRule("ab"), text) == float("ab" in text)
    assert one(PatternRule("ab", must=False), text) == float("ab" not in text)
    assert one(PatternRule("ab", whole=True), text) == float(text == "ab")


def test_a_pattern_that_never_ends_is_unavailable():
    """Not a text that fails it."""
    with pytest.raises(errors.RewardUnavailableError, match=r"within 0\.05 seconds"):
        PatternRule(r"(a|a)*$", timeout=0.05)("", ["a" * 99 + "b"])


@pytest.mark.parametrize("wrong", [{"pattern": "("}, {"pattern": "a", "timeout": 0}])
def test_a_pattern_is_one(wrong):
    """Or is refused at once."""
    with pytest.raises(ValueError, match=f"{next(reversed(wrong))}="):
        PatternRule(**wrong)


# Words

FOUND = [
    ("bad", "that is BAD."),
    ("bad", "\uff22\uff21\uff24!"),
    ("bad", "b\u00ada\u200bd"),
    ("straße", "STRASSE"),
    ("é", "e\u0301"),
    ("c++", "I like C++!"),
    ("bad word", "a bad\n  word"),
    ("禁词", "这是禁词吗"),
    ("คำ", "นี่คือคำไทย"),
    ("كلمة", "هذه كلمة."),
    ("शब्द", "यह शब्द है"),
    ("слово", "СЛОВО"),
]
ABSENT = [
    ("ass", "a class"),
    ("can", "can't"),
    ("शब्द", "शब्दकोश"),
    ("и", "й"),
    ("bad word", "bad, word"),
    ("a.b", "axb"),
]


@pytest.mark.parametrize(("word", "text"), FOUND)
def test_a_forbidden_word_is_found(word, text):
    """In any case, width, composition and script, and alone or among others."""
    assert one(ForbiddenWords((word,)), text) == 0
    assert one(ForbiddenWords(("other", word)), f"before {text} after") == 0


@pytest.mark.parametrize(("word", "text"), ABSENT)
def test_a_part_of_a_word_is_not_the_word(word, text):
    """Nor is another letter."""
    assert one(ForbiddenWords((word,)), text) == 1


@pytest.mark.parametrize("words", [(), "bad", ("bad", " "), ("\u200b",)])
def test_words_are_texts(words):
    """At least one, and none that would be found everywhere."""
    with pytest.raises(ValueError, match="words="):
        ForbiddenWords(words)


# JSON


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"name": "Ann", "age": 3}', 1.0),
        ('```json\n{"name": "Ann"}\n```', 1.0),
        ('```\n{"name": "Ann"}```\n', 1.0),
        ('{"name": 3}', 0.5),
        ('{"name": "Ann", "age": -1}', 0.5),
        ("3", 0.5),
        ('{"name": "Ann"', 0.0),
        ('Here: {"name": "Ann"}', 0.0),
        ('```{"name": "Ann"}```', 0.0),
        ('{"name": "Ann", "age": NaN}', 0.0),
        ("", 0.0),
        ("[" * 10**5, 0.0),
    ],
)
def test_json_of_a_schema(text, score):
    """Nothing for no JSON, half for JSON, one for what the schema takes."""
    assert one(JsonRule(SCHEMA), text) == score
    assert one(JsonRule(), text) == float(score > 0)


def test_a_fence_may_be_refused():
    """Where the text goes to a parser as it is."""
    assert one(JsonRule(fenced=False), "```\n3\n```") == 0


def test_too_deep_for_the_schema_is_not_valid():
    """It parses; nobody could see more."""
    nested = {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}
    assert one(JsonRule(nested), "[" * 20 + "]" * 20) == 1
    assert one(JsonRule(nested), "[" * 400 + "]" * 400) == 0.5


def test_a_schema_reads_nothing_from_the_network(monkeypatch):
    """What it refers to and does not hold makes the reward unavailable."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("it asked the network"))
    with pytest.raises(errors.RewardUnavailableError, match="refers to"):
        one(JsonRule({"$ref": "https://example.com/schema.json"}), "3")


def test_a_schema_is_one(monkeypatch):
    """Else it is refused at once, as it is without the package."""
    with pytest.raises(ValueError, match="not a JSON Schema"):
        JsonRule({"type": "nothing"})
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    JsonRule()
    with pytest.raises(errors.ExtraMissingError, match=r"jsonschema.*langchain-sea\[rules\]"):
        JsonRule(SCHEMA)


# Languages


@pytest.fixture
def letters(monkeypatch):
    """A double that knows three languages by the first letter of a text."""

    class Identifier:
        @classmethod
        def from_model_file(cls, _path, *, norm_probs):
            assert norm_probs
            return cls()

        def rank(self, text):
            return [(code, 0.8 if code == text[0] else 0.1) for code in ("a", "b", "c")]

    langid = types.SimpleNamespace(LanguageIdentifier=Identifier, MODEL_FILE="")
    monkeypatch.setitem(sys.modules, "py3langid", types.ModuleType("py3langid"))
    monkeypatch.setitem(sys.modules, "py3langid.langid", langid)
    rules_content._identifier.cache_clear()
    yield
    rules_content._identifier.cache_clear()


@pytest.mark.usefixtures("letters")
def test_a_language_is_a_probability():
    """Among all or some, of one or several; a text without letters has none."""
    assert LanguageRule("a")("", ["ab", "b", "1", ""]) == pytest.approx([0.8, 0.1, 0, 0])
    assert one(LanguageRule(("a", "b")), "a") == pytest.approx(0.9)
    assert one(LanguageRule("a", among=("b",)), "a") == pytest.approx(8 / 9)
    assert one(LanguageRule("b", among=("a", "b")), "a") == pytest.approx(1 / 9)
    assert pickle.loads(pickle.dumps(LanguageRule("a"))) == LanguageRule("a")  # noqa: S301 - ours


@pytest.mark.usefixtures("letters")
def test_an_unknown_language_is_an_error():
    """Not one that no text is in."""
    for rule in (LanguageRule("x"), LanguageRule("a", among=("x",))):
        with pytest.raises(errors.RewardUnavailableError, match=r"does not know \['x'\]"):
            one(rule, "a")
    for wrong in ({"languages": ()}, {"languages": ""}, {"languages": "a", "among": "ab"}):
        with pytest.raises(ValueError, match="languages="):
            LanguageRule(**wrong)


def test_without_py3langid(monkeypatch):
    """The pip line says what is missing."""
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(errors.ExtraMissingError, match=r"py3langid.*langchain-sea\[rules\]"):
        LanguageRule("en")


def test_real_languages():
    """As py3langid tells them."""
    pytest.importorskip("py3langid")
    rules_content._identifier.cache_clear()
    texts = ["This is a sentence in plain English.", "Das ist ein ganz einfacher deutscher Satz.", "42"]
    english, german = LanguageRule("en", among=("de",)), LanguageRule("de", among=("en",))
    assert [round(score) for score in english("", texts)] == [1, 0, 0]
    assert [round(score) for score in german("", texts)] == [0, 1, 0]
