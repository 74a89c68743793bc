"""The benchmark of chat templates: nothing of a conversation is lost in silence, and the benchmark sees it where it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from slow_cases import first_fast

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

from template_conversations import CONVERSATIONS, Conversation, make_tool
from templates import FOLDER, find_faults, measure, read_folder, read_installed, read_sources, write_prompt

from langchain_sea.errors import ChatTemplateError

TEMPLATES = read_folder(FOLDER)
FEW = (
    "mistral-v1",
    "mistral-v3",
    "llama-3.1",
    "hermes-2-tool-use",
    "firefunction-2",
    "minimax-m1",
    "yi",
    "functionary-3.2",
)
EACH = "{% for m in messages %}<{{ m.role }}>"
BY_NAME = {each.name: each for each in CONVERSATIONS}
# Gemma 4: the words beside a call behind its results
WORDS_LAST = (
    "{% for m in messages %}{% if m.role == 'tool' %}<result>{{ m.content }}"
    "{% if loop.last or loop.nextitem.role != 'tool' %}{% for n in messages[:loop.index0] %}"
    "{% if n.tool_calls %}{{ n.content }}{% endif %}{% endfor %}{% endif %}"
    "{% elif m.tool_calls %}{% for c in m.tool_calls %}<call>{{ c.function | tojson }}{% endfor %}"
    "{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("name", first_fast(FEW, 3))
def test_nothing_is_lost_in_some_templates(name: str) -> None:
    figures = measure({name: TEMPLATES[name]})
    assert figures["silent_losses"]["cases"] == []
    assert figures["errors"]["messages"] == []


@pytest.mark.slow
def test_nothing_is_lost_in_any_template() -> None:
    figures = measure(TEMPLATES | read_installed())
    assert figures["silent_losses"]["cases"] == []
    # a guard that judges one message takes no conversation
    assert [each for each in figures["errors"]["messages"] if not each.startswith("shieldgemma")] == []


def test_every_template_has_a_source() -> None:
    sources = read_sources()
    assert sources.keys() == TEMPLATES.keys()
    assert len(sources) >= 40
    assert all(entry["source"].startswith("https://") and entry["licence"] for entry in sources.values())


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (EACH + "{% endfor %}", "Firstask is missing"),
        (EACH + "{{ m.content }}{{ m.content }}{% endfor %}", "Firstask is repeated: 2 times"),
        (
            "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
            "the order is not Firstask, Replyword, Nextask",
        ),
    ],
)
def test_the_benchmark_sees_a_fault(template: str, fault: str) -> None:
    """Of a prompt that is rendered without the package's checks."""
    import jinja2

    conversation = BY_NAME["two turns"]
    messages = [{"role": message.type, "content": message.content} for message in conversation.messages]
    assert fault in find_faults(jinja2.Template(template).render(messages=messages), conversation)


def test_the_benchmark_sees_that_a_tool_is_not_shown() -> None:
    one = BY_NAME["one call"]
    prompt = write_prompt(TEMPLATES["chatml"], replace(one, tools=()))
    assert "look_clock is missing" in find_faults(prompt, one)


def test_words_beside_calls_come_before_the_results() -> None:
    two = BY_NAME["two results and a question"]
    prompt = write_prompt(WORDS_LAST, replace(two, tools=()))
    assert [prompt.count(word) for word in ("<call>", "<result>", "Besideword")] == [2, 2, 1]  # in the template's form
    assert -1 < prompt.find("Besideword") < prompt.find("<call>") < prompt.find("<result>")


def test_a_template_that_turns_the_conversation_round_is_refused() -> None:
    reverse = "{% for m in messages | reverse %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="prints out of order parts of this conversation, such as 'Replyword"):
        write_prompt(reverse, BY_NAME["two turns"])


def test_results_may_come_in_any_order() -> None:
    """Some templates print them in the order of the calls."""
    by_call = (
        "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<call>{{ c.function | tojson }}{% endfor %}"
        "{% for c in m.tool_calls %}{% for r in messages if r.tool_call_id == c.id %}<result>{{ r.content }}{% endfor %}"
        "{% endfor %}{% elif m.role != 'tool' %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
    )
    prompt = write_prompt(by_call, replace(BY_NAME["names and ids"], tools=()))
    assert -1 < prompt.find("<result>Rain") < prompt.find("<result>Noon")


@pytest.mark.parametrize("name", ["hermes-2-tool-use", "command-r-plus-tool-use"])
def test_a_template_for_tools_writes_a_conversation_without_tools(name: str) -> None:
    assert find_faults(write_prompt(TEMPLATES[name], BY_NAME["two turns"]), BY_NAME["two turns"]) == []


def test_tools_are_shown_under_the_name_that_a_template_reads() -> None:
    asked = Conversation("functions", (HumanMessage("Firstask?"),), {}, (), (make_tool("look_weather", "placekey"),))
    system = write_prompt(TEMPLATES["firefunction-2"], asked).partition("<|eot_id|>")[0]
    assert "Available functions" in system
    assert '"name": "look_weather"' in system
