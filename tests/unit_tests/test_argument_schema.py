"""Schemas of strangers: no address is opened, no pattern hangs, and what cannot be used is said."""

from __future__ import annotations

import pytest

from langchain_sea.safety import CallContext, ContextMessage, GuardConfig, SchemaCheck
from langchain_sea.safety.tool_call import freeze_calls


def find_errors(arguments, schema):
    context = CallContext((ContextMessage("user", "x"),), {"tool": schema}, GuardConfig())
    (findings,) = SchemaCheck()(freeze_calls([{"id": "1", "name": "tool", "args": arguments}]), context)
    return [finding.reason for finding in findings]


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x", "https://example.com/x", "file:///etc/passwd", "x.json"])
def test_a_reference_outside_of_the_schema_is_not_opened(reference):
    (reason,) = find_errors({"a": 1}, {"properties": {"a": {"$ref": reference}}})
    assert "not opened" in reason or "not present" in reason


def test_a_reference_inside_of_the_schema_is_followed():
    schema = {"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    assert find_errors({"a": 1}, schema) == []
    assert find_errors({"a": "x"}, schema)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=(a+)+$)a", "^(a|a)*$", "(a*)*b", r"^(\w+\s?)*$"])
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "propertyNames"])
def test_a_pattern_that_backtracks_ends(pattern, keyword):
    text = "a" * 3000 + "!"
    inner = {"pattern": pattern} if keyword != "patternProperties" else {"patternProperties": {pattern: {}}}
    inner = {"propertyNames": inner} if keyword == "propertyNames" else inner
    find_errors({"a": text if keyword == "pattern" else {text: 1}}, {"properties": {"a": inner}})


def test_a_pattern_that_cannot_be_read_is_said():
    (reason,) = find_errors({"a": "x"}, {"properties": {"a": {"pattern": "("}}})
    assert "cannot be used" in reason


@pytest.mark.parametrize("schema", [{"properties": {"a": {"exclusiveMinimum": True, "minimum": 0}}}, {"properties": {"a": {"items": [{"type": "integer"}]}}}])  # fmt: skip
def test_schemas_of_older_drafts_are_read(schema):
    assert find_errors({"a": 1}, schema) == []


def test_half_a_character_is_said():
    assert find_errors({"a": "\ud800"}, {"properties": {"a": {}}})
