"""`SEARepairer`: which arguments are written how, with a model whose answers are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_sea.safety import CallContext, ContextMessage, GuardConfig
from langchain_sea.safety.tool_call import freeze_calls
from langchain_sea.tool_repair import SEARepairer

REFUSAL = "I cannot help with this. And"


@dataclass
class Model:
    """Answers plainly with `text`, and to a schema with `parsed`; notes what it was asked."""

    text: str = REFUSAL
    parsed: Any = None
    seed: int = 3
    prompts: list[str] = field(default_factory=list)
    schemas: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def batch(self, inputs, *, seed):
        self.prompts += [messages[0].text for messages in inputs]
        self.seeds.append(seed)
        return [AIMessage(self.text) for _ in inputs]

    def with_structured_output(self, schema, *, include_raw):
        assert include_raw
        self.schemas.append(schema)
        return RunnableLambda(lambda _messages, **_options: {"parsed": self.parsed})


def repair(model: Any, properties: dict[str, Any], arguments: dict[str, Any], names: tuple[str, ...], attempt: int = 0):
    tools = {"send": {"type": "object", "properties": properties}}
    (call,) = freeze_calls([{"id": "1", "name": "send", "args": arguments}])
    context = CallContext((ContextMessage("user", "Write to Ann."),), tools, GuardConfig())
    return SEARepairer(model=model)(call, names, "harm", context, attempt)


TEXT = {"type": "string"}


def test_a_plain_text_is_written_without_a_schema_and_ends_with_a_sentence() -> None:
    model = Model()
    new = repair(model, {"to": TEXT, "body": TEXT}, {"to": "a@x.example", "body": "How to rob a bank"}, ("body",), 2)
    assert new.arguments == {"to": "a@x.example", "body": "I cannot help with this."}
    assert "How to rob a bank" in model.prompts[0]
    assert (model.schemas, model.seeds) == ([], [5])


def test_every_plain_text_answers_its_own_old_text() -> None:
    model = Model()
    new = repair(model, {"a": TEXT, "b": TEXT}, {"a": "first", "b": "second"}, ("a", "b"))
    assert new.arguments == {"a": "I cannot help with this.", "b": "I cannot help with this."}
    assert ["first" in model.prompts[0], "second" in model.prompts[0]] == [True, False]
    assert "second" in model.prompts[1]


@pytest.mark.parametrize("text", ["No.", "", "no sentence ends here", "x" * 300 + "."])
def test_no_usable_text_is_no_repair(text: str) -> None:
    assert repair(Model(text), {"body": TEXT}, {"body": "bad"}, ("body",)) is None


@pytest.mark.parametrize(
    "schema", [{"type": "string", "maxLength": 8}, {"type": "array", "items": TEXT}, {"enum": ["a"]}]
)
def test_a_constrained_value_is_written_to_its_schema(schema: dict[str, Any]) -> None:
    model = Model(parsed={"body": "fine"})
    new = repair(model, {"body": schema}, {"body": "bad"}, ("body",))
    assert new.arguments == {"body": "fine"}
    asked = model.schemas[0]["properties"]["body"]
    assert asked == ({"minLength": 1} if "maxLength" in schema else {}) | schema  # no empty text
    assert model.prompts == []


@pytest.mark.parametrize("parsed", [None, {}, {"other": "x"}, {"body": "bad"}])
def test_an_answer_that_changes_nothing_or_is_not_of_the_schema_is_no_repair(parsed: Any) -> None:
    assert repair(Model(parsed=parsed), {"body": {"enum": ["bad"]}}, {"body": "bad"}, ("body",)) is None


@pytest.mark.parametrize("text", [REFUSAL, ""])
def test_values_of_both_kinds_are_one_repair_or_none(text: str) -> None:
    properties = {"body": TEXT, "kind": {"enum": ["a", "b"]}}
    new = repair(Model(text, parsed={"kind": "b"}), properties, {"body": "bad", "kind": "a"}, ("body", "kind"))
    assert (new and new.arguments) == ({"body": "I cannot help with this.", "kind": "b"} if text else None)
