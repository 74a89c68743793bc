"""Schemas by the hundred (SEA_SCHEMAS=1000 for more): whatever is asked for, what leaves is of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from unit_tests.doubles import SMALL_PRESET, with_fields

from langchain_sea import Budget, SEAChatModel
from langchain_sea.errors import GrammarError, PromptTooLongError

PRESET = replace(SMALL_PRESET, search_config=with_fields(SMALL_PRESET.search_config, num_drafts=2, num_chains=1))
MODEL = SEAChatModel(model="tiny", budget=Budget(max_steps=1, max_time=None), preset=PRESET, max_tokens=96)
NAMES = st.text("abcdefghijklmnop_", min_size=1, max_size=8)
PLAIN = st.one_of(
    st.fixed_dictionaries({"type": st.just("string")}, optional={"maxLength": st.integers(1, 12)}),
    st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": st.integers(0, 6)}),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": st.integers(-9, 9)}),
    st.builds(
        lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)},
        st.integers(-99, 99),
        st.integers(-99, 99),
    ),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.sampled_from(["date", "time", "uuid", "ipv4", "email"]).map(lambda f: {"type": "string", "format": f}),
    st.lists(st.one_of(st.text(max_size=6), st.integers(-9, 99), st.booleans()), min_size=1, max_size=4).map(
        lambda v: {"enum": v}
    ),
    st.one_of(st.text(max_size=6), st.integers()).map(lambda v: {"const": v}),
    st.sampled_from(["[a-c]{1,4}", "[0-9]{3}", "(yes|no)", "[A-Z][a-z]{2}"]).map(
        lambda p: {"type": "string", "pattern": f"^{p}$"}
    ),
)


def arrays(inner):
    return st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3))


def objects(inner):
    def made(properties, optional):
        required = [name for name in properties if name not in optional]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    return st.builds(made, st.dictionaries(NAMES, inner, min_size=0, max_size=3), st.sets(NAMES, max_size=2))


SCHEMAS = objects(
    st.recursive(
        PLAIN,
        lambda inner: st.one_of(
            arrays(inner), objects(inner), st.lists(inner, min_size=2, max_size=3).map(lambda s: {"anyOf": s})
        ),
        max_leaves=5,
    )
)


def referred(schema):
    """The same with its parts in definitions."""
    definitions = {f"part_{i}": part for i, part in enumerate(schema["properties"].values())}
    properties = {name: {"$ref": f"#/$defs/part_{i}"} for i, name in enumerate(schema["properties"])}
    return {**schema, "properties": properties, "$defs": definitions}


@pytest.mark.timeout(3000)  # a thousand take minutes
@pytest.mark.parametrize("refers", [False, True], ids=["whole", "in definitions"])
@settings(
    max_examples=int(os.environ.get("SEA_SCHEMAS", "100")) // 2,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(schema=SCHEMAS)
def test_what_leaves_is_of_its_schema(schema, refers):
    asked = referred(schema) if refers and schema["properties"] else schema
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": asked}}
    try:
        message = MODEL.invoke("Write what is asked for.", response_format=wanted)
    except (GrammarError, PromptTooLongError) as error:
        # it says so: a schema that cannot be enforced, or no room for the schema itself
        said = ("cannot be enforced", "exceeds the policy's context")
        assert any(part in str(error) for part in said)  # noqa: PT017 - each is an answer
        return
    if message.response_metadata["finish_reason"] == "length":  # this policy may write digits without end
        assert message.response_metadata["sea"]["cut_off_by"] in ("max_tokens=96", "context")
        return
    Draft202012Validator(asked).validate(json.loads(message.content))
