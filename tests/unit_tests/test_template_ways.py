"""What a conversation holds is in the prompt, whatever a chat template prints of it by itself."""

from __future__ import annotations

from typing import Any

import pytest
from architectures import tiny_tokenizer
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_sea.chat.messages import to_template_messages
from langchain_sea.errors import ChatTemplateError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.template_check import find_missing

ONE, TWO = "call_" + "a" * 24, "call_" + "b" * 24
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
WORDS = {
    "s": "SYSTEMWORDS",
    "u": "FIRSTQUESTION",
    "n": "NEXTQUESTION",
    "a": "ANSWERWORDS",
    "1": "ROMECITY",
    "2": "OSLOCITY",
    "r": "RESULTONE",
    "R": "RESULTTWO",
}


def call(key: str, city: str) -> dict[str, Any]:
    return {"name": "get_weather", "args": {"city": city}, "id": key, "type": "tool_call"}


MESSAGES: dict[str, BaseMessage] = {
    "s": SystemMessage("SYSTEMWORDS."),
    "u": HumanMessage("FIRSTQUESTION?"),
    "n": HumanMessage("NEXTQUESTION?"),
    "a": AIMessage("ANSWERWORDS."),
    "1": AIMessage("", tool_calls=[call(ONE, "ROMECITY")]),
    "2": AIMessage("", tool_calls=[call(ONE, "ROMECITY"), call(TWO, "OSLOCITY")]),
    "r": ToolMessage("RESULTONE", tool_call_id=ONE),
    "R": ToolMessage("RESULTTWO", tool_call_id=TWO),
}
CONVERSATIONS = ("u", "su", "suan", "u1r", "su1r", "u2rR", "su2rR", "u1ran", "u2rRan", "su2rRn")

_NINE = "{{ raise_exception('ids have nine letters or digits') }}"
_EACH = "{% for m in messages %}"
TEMPLATES = {
    # Gemma 1 and 2, Llama 2, the first Mistral: users and assistants take turns
    "turns": _EACH
    + "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles take turns') }}{% endif %}"
    "{% if m['role'] not in ('user', 'assistant') %}{{ raise_exception('no such role') }}{% endif %}"
    "<turn>{{ m['role'] }}\n{{ m['content'] }}</turn>\n{% endfor %}<turn>assistant\n",
    # SmolLM3, LFM2, Granite 3.0: calls are not printed
    "content only": "{% if tools %}Tools: {{ tools | tojson }}{% endif %}"
    + _EACH
    + "<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}<|assistant|>",
    # Phi-4-mini: tools are a key of the system message
    "system key": _EACH
    + "{% if m['role'] == 'system' and m['tools'] %}<|system|>{{ m['content'] }}<|tool|>{{ m['tools'] }}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}<|assistant|>",
    # DeepSeek V3: arguments are joined as text
    "joined": _EACH + "{% if m['role'] == 'assistant' and m['tool_calls'] is defined %}{% for c in m['tool_calls'] %}"
    "{{ '<CALL>' + c['function']['name'] + c['function']['arguments'] }}{% endfor %}"
    "{% else %}{{ '<' + m['role'] + '>' + m['content'] }}{% endif %}{% endfor %}<A>",
    # gpt-oss: the first call alone
    "first call": "{% if tools %}{{ tools | tojson }}{% endif %}"
    + _EACH
    + "{% if m['tool_calls'] %}<CALL>{{ m['tool_calls'][0]['function'] | tojson }}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}",
    # Llama 3.1: one call at a time
    "single call": "{% if tools %}{{ tools | tojson }}{% endif %}"
    + _EACH
    + "{% if m['tool_calls'] %}{% if m['tool_calls'] | length != 1 %}{{ raise_exception('one call at a time') }}"
    "{% endif %}<CALL>{{ m['tool_calls'][0]['function'] | tojson }}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}",
    # Mistral Nemo: ids of nine characters
    "nine": "{% if tools %}{{ tools | tojson }}{% endif %}"
    + _EACH
    + "{% if m['tool_calls'] is defined %}{% for c in m['tool_calls'] %}{% if c['id'] | length != 9 %}"
    + _NINE
    + "{% endif %}{{ c['function'] | tojson }} {{ c['id'] }}{% endfor %}{% elif m['role'] == 'tool' %}"
    "{% if m['tool_call_id'] | length != 9 %}"
    + _NINE
    + "{% endif %}{{ m['content'] }} {{ m['tool_call_id'] }}{% else %}[{{ m['role'] }}]{{ m['content'] }}{% endif %}{% endfor %}",
    # Llama Guard 3, SmolVLM: content is a list of parts
    "parts": _EACH
    + "<|{{ m['role'] }}|>{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}<|assistant|>",
}


def write(template: str | dict[str, str], kinds: str, *, tools: bool) -> str:
    tokenizer = tiny_tokenizer(chat_template=template)  # type: ignore[arg-type]
    messages = to_template_messages([MESSAGES[kind] for kind in kinds])
    ids = ChatTemplate(tokenizer).chat(messages, [TOOL] if tools else None)
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("tools", [True, False])
@pytest.mark.parametrize("kinds", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_all_of_a_conversation_is_in_the_prompt(name: str, kinds: str, *, tools: bool) -> None:
    text = write(TEMPLATES[name], kinds, tools=tools)
    wanted = (
        [WORDS[kind] for kind in kinds] + (["ROMECITY"] if "2" in kinds else []) + (["get_weather"] if tools else [])
    )
    assert [word for word in wanted if word not in text] == []


def write_messages(template: str, messages: list[BaseMessage], tools: list[dict[str, Any]] | None = None) -> str:
    tokenizer = tiny_tokenizer(chat_template=template)
    return str(tokenizer.decode(ChatTemplate(tokenizer).chat(to_template_messages(messages), tools)))


def test_a_name_in_the_question_is_no_tool_in_the_prompt() -> None:
    add = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
    plain = _EACH + "<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}<|assistant|>"
    assert '"name": "add"' in write_messages(plain, [HumanMessage("Please add 2 and 3.")], [add])


@pytest.mark.parametrize("name", ["content only", "turns", "joined"])
def test_numbers_and_names_of_arguments_are_in_the_prompt(name: str) -> None:
    one = {"name": "get_weather", "args": {"days": 2, "at": {"hour": 7.5}}, "id": ONE, "type": "tool_call"}
    asked = [HumanMessage("Weather in 2 days at 7.5?"), AIMessage("", tool_calls=[one]), MESSAGES["r"]]
    text = write_messages(TEMPLATES[name], asked)
    assert '"days": 2, "at": {"hour": 7.5}' in text


# Llama 3.1: one call at a time, without the words beside it
_WORDLESS = TEMPLATES["single call"]


@pytest.mark.parametrize("template", TEMPLATES.values())
def test_words_beside_a_call_are_in_the_prompt(template: str) -> None:
    both = [call(ONE, "ROMECITY"), call(TWO, "OSLOCITY")]
    asked = [MESSAGES["u"], AIMessage("BESIDEWORDS.", tool_calls=both), MESSAGES["r"], MESSAGES["R"]]
    text = write_messages(template, asked, [TOOL])
    places = [text.find(word) for word in ("BESIDEWORDS", "ROMECITY", "RESULTONE")]
    assert -1 not in places
    assert places == sorted(places)
    if template is _WORDLESS:
        assert text.count("<CALL>") == 2  # in the model's own form


def test_ids_that_occur_again_belong_to_their_turn() -> None:
    def turn(city: str, result: str) -> list[BaseMessage]:
        return [AIMessage("", tool_calls=[call("1", city), call("2", city + "2")]),
                ToolMessage(result, tool_call_id="1"), ToolMessage(result + "2", tool_call_id="2")]  # fmt: skip

    asked = [MESSAGES["u"], *turn("ROME", "SUN"), MESSAGES["n"], *turn("OSLO", "SNOW")]
    text = write_messages(TEMPLATES["single call"], asked)
    places = [text.find(word) for word in ('ROME"', "SUN", "ROME2", "SUN2", "NEXT", 'OSLO"', "SNOW", "OSLO2", "SNOW2")]
    assert -1 not in places
    assert places == sorted(places)


def test_results_and_a_question_are_one_turn() -> None:
    text = write(TEMPLATES["turns"], "u2rRn", tools=False)
    assert text.count("<turn>user") == 2


@pytest.mark.parametrize("name", ["turns", "parts"])
def test_a_later_system_message_is_told_by_the_user(name: str) -> None:
    asked = [MESSAGES["u"], MESSAGES["a"], SystemMessage("LATERWORDS."), MESSAGES["n"]]
    no_system = TEMPLATES[name].replace(
        _EACH, _EACH + "{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    text = write_messages(no_system, asked)
    assert -1 < text.find("ANSWERWORDS") < text.find("LATERWORDS") < text.find("NEXTQUESTION")


def test_phi_reads_tools_as_a_key_of_the_system_message() -> None:
    for kinds in ("u", "su"):
        assert "<|tool|>[{" in write(TEMPLATES["system key"], kinds, tools=True)


def test_ids_are_those_of_the_results() -> None:
    text = write(TEMPLATES["nine"], "u2rR", tools=True)
    assert text.count("call00000") == text.count("call00001") == 2


def test_with_tools_their_own_template_is_used() -> None:
    named = {
        "default": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "tool_use": "<OWN>{{ tools | tojson }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }
    assert "<OWN>" in write(named, "u", tools=True)
    assert "<OWN>" not in write(named, "u", tools=False)


def test_what_no_way_prints_is_an_error_that_names_it() -> None:
    with pytest.raises(ChatTemplateError, match="leaves out parts of this conversation, such as 'FIRSTQUESTION\\?'"):
        write("{% for m in messages %}<|{{ m['role'] }}|>{% endfor %}", "u", tools=False)


def test_trimmed_and_escaped_texts_are_found() -> None:
    messages = [{"role": "user", "content": ' a "quoted"\n line with ü '}]
    assert find_missing('…a \\"quoted\\"\\n line with \\u00fc…', messages, None) == []
    assert find_missing("…a quoted line…", messages, None) == [messages[0]["content"]]
