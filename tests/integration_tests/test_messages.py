"""A thousand conversations: no error that is not a typed one, no control token that a text brought in."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea import load_model
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.errors import SEAError

POLICY = load_model("tiny")
CONTROL = sorted(set(POLICY._template.control.values()))
TEXT = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from([*CONTROL, "<|im_start|>", "[INST]", "<s>", "</s>", "<|eot_id|>", "\ue000"]),
    ),
    max_size=4,
).map("".join)
BLOCKS = st.lists(
    st.one_of(TEXT, TEXT.map(lambda t: {"type": "text", "text": t}), st.just({"type": "image_url", "image_url": {"url": "x"}}),
              TEXT.map(lambda t: {"type": "tool_use", "id": "1", "name": t, "input": {}}), TEXT.map(lambda t: {"type": "reasoning", "reasoning": t})),
    max_size=3,
)  # fmt: skip
CONTENT = st.one_of(TEXT, TEXT, BLOCKS)
ARGS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.lists(TEXT, max_size=2)), max_size=2)
CALLS = st.lists(
    st.builds(
        lambda n, a, i: {"name": n or "x", "args": a, "id": i, "type": "tool_call"}, TEXT, ARGS, st.sampled_from("123")
    ),
    max_size=2,
)
MESSAGES = st.lists(
    st.one_of(
        st.builds(SystemMessage, CONTENT),
        st.builds(lambda c, n: HumanMessage(c, name=n), CONTENT, st.one_of(st.none(), TEXT)),
        st.builds(lambda c, t: AIMessage(c, tool_calls=t), CONTENT, CALLS),
        st.builds(lambda c, i, s: ToolMessage(c, tool_call_id=i, status=s), TEXT, st.sampled_from("123"), st.sampled_from(["success", "error"])),
        st.builds(lambda c, r: ChatMessage(c, role=r), TEXT, st.sampled_from(["user", "critic", "system"])),
    ),
    max_size=5,
)  # fmt: skip


def plain(dicts):
    """The same conversation with every text taken away: what the template itself writes of control tokens."""
    found = []
    for each in dicts:
        kept = {**each, "content": "x" if each["content"] else ""}
        if "tool_calls" in kept:
            kept["tool_calls"] = [{**c, "function": {"name": "f", "arguments": {}}} for c in kept["tool_calls"]]
        if "name" in kept:
            kept["name"] = "n"
        found.append(kept)
    return found


@pytest.mark.timeout(1200)
@settings(max_examples=1_000, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(MESSAGES)
def test_every_conversation_becomes_a_prompt_or_a_typed_error(messages):
    try:
        dicts = to_template_messages(messages)
        ids = POLICY._template.chat(dicts, None)
    except (SEAError, ValueError) as error:
        assert str(error)  # noqa: PT017 - either is an answer
        return
    special = POLICY._template.special
    bare = POLICY._template.chat(plain(dicts), None)
    assert [i for i in ids if i in special] == [i for i in bare if i in special]
    safe = all(c not in str(dicts) for c in (*CONTROL, "\ue000")) and not any("<" in str(m["content"]) for m in dicts)
    if safe:
        tokenizer = POLICY.tokenizer
        rendered = tokenizer.apply_chat_template(dicts, tokenize=False, add_generation_prompt=True)
        assert ids == tokenizer.encode(rendered, add_special_tokens=False)
