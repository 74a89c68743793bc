"""JSON grammars: what they force is added to an answer that was cut off, and nothing else; where weight goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea import load_model
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.template_fallbacks import CLOSING, OPENING

POLICY = load_model("tiny")


def make_grammar(schema: dict[str, Any], around: tuple[str, str] = ("", "")) -> JsonGrammar:
    return JsonGrammar(schema, POLICY.tokenizer, POLICY.vocab_size, sorted(POLICY.end_ids), around=around)


def make_object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TRANSFER = make_object({"amount": {"type": "integer"}, "to": {"type": "string"}, "urgent": {"type": "boolean"}})
CITY = make_object({"city": {"enum": ["Paris", "Rome", "Romeo"]}})
NOTE = make_object({"text": {"type": "string", "maxLength": 3}})


@pytest.mark.parametrize(
    ("schema", "begun", "whole"),
    [
        (TRANSFER, '{"amount": 250, "to": "Ann", "urgent": true', '{"amount": 250, "to": "Ann", "urgent": true}'),
        (TRANSFER, '{"amount": 250, "to": "Ann", "urgent": f', '{"amount": 250, "to": "Ann", "urgent": false}'),
        (CITY, '{"city": "P', '{"city": "Paris"}'),
        (NOTE, '{"text": "abc', '{"text": "abc"}'),
        (make_object({"a": TRANSFER}), '{"a": {"amount": 1, "to": "", "urgent": true', None),
    ],
)
def test_what_the_grammar_forces_is_added(schema: dict[str, Any], begun: str, whole: str | None) -> None:
    """The policy could not have written anything else."""
    found = make_grammar(schema).complete(POLICY.encode(begun), 60)
    assert found is not None
    assert POLICY.decode(found) == (whole or begun + "}}")


@pytest.mark.parametrize(
    ("schema", "begun"),
    [
        (TRANSFER, ""),
        (TRANSFER, '{"amount": 2'),
        (TRANSFER, '{"amount": 250, "to": "An'),
        (TRANSFER, '{"amount": 250, "to": "Ann Smith"'),
        (CITY, '{"city": "Rome'),
        (make_object({"a": {"type": "number"}}), '{"a": 2.'),
        (make_object({"a": {"type": "array", "items": {"type": "boolean"}}}), '{"a": [true'),
        (make_object({"a": {"type": "boolean"}}, {"b": {"type": "string"}}), '{"a": true'),
        ({"type": "integer"}, "2"),
        (TRANSFER, '{"total'),
    ],
)
def test_what_the_policy_had_still_to_choose_is_not_chosen_for_it(schema: dict[str, Any], begun: str) -> None:
    """Neither digits, nor the end of a string, nor a key, nor a value."""
    assert make_grammar(schema).complete(POLICY.encode(begun), 60) is None


def test_no_more_tokens_are_added_than_there_are() -> None:
    """The tags behind a tool call are tokens, too."""
    grammar = make_grammar(CITY, around=(OPENING, CLOSING))
    begun = POLICY.encode(f'{OPENING}{{"city": "P')
    whole = grammar.complete(begun, 60)
    assert whole is not None
    added = len(whole) - len(begun)
    assert POLICY.decode(whole) == f'{OPENING}{{"city": "Paris"}}{CLOSING}'
    assert grammar.complete(begun, added) == whole
    assert grammar.complete(begun, added - 1) is None


names = st.text("abc_", min_size=1, max_size=5)
LEAVES: tuple[tuple[dict[str, Any], st.SearchStrategy[Any]], ...] = (
    ({"type": "string"}, st.text('abé "\\}\n', max_size=6)),
    ({"type": "string", "maxLength": 3}, st.text("ab}", max_size=3)),
    ({"type": "integer"}, st.integers(-999, 9999)),
    ({"type": "number"}, st.sampled_from([0, 2.5, -0.25, 100, 12.0])),
    ({"type": "boolean"}, st.booleans()),
    ({"type": "null"}, st.none()),
    ({"enum": ["x", "xy", 3, 31, None]}, st.sampled_from(["x", "xy", 3, 31, None])),
)


@st.composite
def objects(draw: Any, depth: int = 2) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw the schema of an object, and a value of it."""
    required, optional, value = {}, {}, {}
    for name in draw(st.lists(names, max_size=3, unique=True)):
        part, inner = draw(parts(depth))
        is_required = draw(st.booleans())
        (required if is_required else optional)[name] = part
        if is_required or draw(st.booleans()):
            value[name] = inner
    schema = make_object(required, optional)
    return schema, {name: value[name] for name in schema["properties"] if name in value}


@st.composite
def parts(draw: Any, depth: int) -> tuple[dict[str, Any], Any]:
    """Draw a schema, and a value of it."""
    kind = draw(st.integers(0, len(LEAVES) + (1 if depth else -1)))
    if kind < len(LEAVES):
        schema, values = LEAVES[kind]
        return schema, draw(values)
    if kind == len(LEAVES):
        return draw(objects(depth - 1))
    schema, values = draw(st.sampled_from(LEAVES))
    return {"type": "array", "items": schema}, draw(st.lists(values, max_size=3))


@settings(max_examples=10)
@given(objects())
def test_at_every_token_an_answer_is_completed_to_itself_or_not_at_all(drawn: tuple[Any, Any]) -> None:
    """What was cut off never ends in a value that the policy did not write."""
    check_completions(*drawn)


@pytest.mark.slow
@settings(max_examples=60)
@given(objects())
def test_so_it_is_with_many_answers(drawn: tuple[Any, Any]) -> None:
    check_completions(*drawn)


def check_completions(schema: Any, value: Any) -> None:
    """Cut the value off at every token, and complete each part."""
    grammar, text = make_grammar(schema), json.dumps(value, ensure_ascii=False)
    ids = POLICY.encode(text)
    assert grammar.is_complete(ids)
    for cut in range(len(ids) + 1):
        found = grammar.complete(ids[:cut], 200)
        assert found is None or POLICY.decode(found) == text
    assert found == ids


def test_the_weight_of_a_forbidden_token_goes_to_its_beginning() -> None:
    """Here the policy would end a call, and may only close a bracket; its own choice among the others stays."""
    grammar, closing = make_grammar(make_object({"a": {"type": "integer"}})), POLICY.encode(f"}}}}{CLOSING}")
    assert len(closing) == 1, "the policy has no token for the end of a call"
    logits = torch.zeros(POLICY.vocab_size)
    logits[closing] = 5.0
    matcher = grammar.matcher(POLICY.encode('{"a": 14'))
    allowed, constrained = matcher.allowed_mask(), matcher.constrain(logits)
    (bracket,), (digit,) = POLICY.encode("}"), POLICY.encode("7")
    assert bool(constrained[~allowed].isneginf().all())
    assert int(constrained.argmax()) == bracket
    assert constrained[bracket] > torch.tensor(5.0)
    assert constrained[digit] == 0.0


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from(["", '{"a', '{"a": 1', '{"a": 1, "b": "x', '{"a": 1, "b": "x"}']))
def test_constrained_logits_are_those_of_beginnings(seed: int, begun: str) -> None:
    """Every allowed token has its own weight and that of likely forbidden tokens that begin with it."""
    grammar = make_grammar(make_object({"a": {"type": "integer"}, "b": {"type": "string"}}))
    logits = 3 * torch.randn(POLICY.vocab_size, generator=torch.Generator().manual_seed(seed))
    matcher = grammar.matcher(POLICY.encode(begun))
    allowed, found = matcher.allowed_mask(), matcher.constrain(logits)
    texts = POLICY.tokenizer.convert_ids_to_tokens(range(POLICY.vocab_size))
    special = POLICY.tokenizer.added_tokens_decoder
    shares = logits.double().exp()
    expected = shares * allowed
    for i in ((logits > logits.max() - 7) & ~allowed).nonzero().flatten().tolist():
        beginnings = [k for k in allowed.nonzero().flatten().tolist() if texts[i].startswith(texts[k])]
        if beginnings and i not in special:
            expected[max(beginnings, key=lambda k: len(texts[k]))] += shares[i]
    torch.testing.assert_close(found.double().exp(), expected, rtol=1e-4, atol=1e-6)
