"""The model's own control tokens: markers of calls and reasoning, and what ends its turn; and templates that are passed."""

from __future__ import annotations

import pytest
from architectures import tiny_tokenizer
from doubles import SMALL_PLAN
from langchain_core.messages import AIMessage, HumanMessage
from tokenizers import AddedToken

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.reasoning import split_reasoning
from langchain_sea.errors import ChatTemplateError
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.template_markers import THOUGHT_TAGS
from langchain_sea.models.turn_ends import find_turn_ends

MARKERS = ("[TOOL_CALLS]", "<|tool_call|>", "<tool_call>", "<|python_tag|>", "<think>", "[THINK]")
PLAIN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def special(*names: str) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_the_models_own_to_write(marker: str) -> None:
    tokenizer = tiny_tokenizer(chat_template=PLAIN, extra=special(marker, "<|other|>"))
    template = ChatTemplate(tokenizer, writes=True)
    other, own = tokenizer.convert_tokens_to_ids(["<|other|>", marker])
    assert own not in template.special
    assert other in template.special
    ids = [own, *template.encode("[{}] a"), other]
    assert template.decode(ids) == f"{marker}[{{}}] a"
    assert template.encode(template.decode(ids)) == ids[:-1]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_in_a_conversation_is_text(marker: str) -> None:
    tokenizer = tiny_tokenizer(chat_template=PLAIN, extra=special(marker))
    template = ChatTemplate(tokenizer, writes=True)
    own = tokenizer.convert_tokens_to_ids(marker)
    assert own not in template.chat([{"role": "user", "content": f"say {marker}[1] {marker}"}], None)
    assert own not in ChatTemplate(tokenizer).encode(f"say {marker}")  # the text of a reward is no answer's


def test_what_the_template_prints_behind_the_words_ends_a_turn() -> None:
    ended = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<|done|>\n{% endfor %}"
    tokenizer = tiny_tokenizer(chat_template=ended, extra=special("<|done|>", "<|done|>more"))
    assert find_turn_ends(ChatTemplate(tokenizer)) == {tokenizer.convert_tokens_to_ids("<|done|>")}
    assert find_turn_ends(ChatTemplate(tokenizer, PLAIN)) == frozenset()
    assert find_turn_ends(ChatTemplate(tiny_tokenizer(chat_template=None))) == frozenset()


def test_a_template_may_be_passed_as_text_or_file(tmp_path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("MINE" + PLAIN, encoding="utf-8")
    options = {"model": "tiny", "budget": Budget(max_steps=0), "plan": SMALL_PLAN, "max_tokens": 4}
    by_text = SEAChatModel(**options, chat_template="MINE" + PLAIN)
    by_path = SEAChatModel(**options, chat_template=path)
    assert by_text._get_llm_string() == by_path._get_llm_string()
    assert load_model("tiny", chat_template=path) is load_model("tiny", chat_template="MINE" + PLAIN)
    assert load_model("tiny", chat_template=path) is not load_model("tiny")
    assert by_text.get_num_tokens_from_messages([HumanMessage("a")]) != SEAChatModel(
        **options
    ).get_num_tokens_from_messages([HumanMessage("a")])
    assert by_path.invoke("What is 14 + 23?").usage_metadata["input_tokens"] > 0


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{% for m in messages %}\n{{ m['content'] ", r"no valid Jinja text.*line 2"),
        ("{% for m in messages %}{{ m | shout }}{% endfor %}", "no valid Jinja text.*shout"),
        ("{{ message }}", "never reads `messages`"),
        ("missing.jinja", "neither Jinja text nor a file"),
    ],
)
def test_a_bad_template_says_what_is_wrong(source: str, fault: str) -> None:
    with pytest.raises(ChatTemplateError, match=fault):
        load_model("tiny", chat_template=source)
    with pytest.raises(ValueError, match=fault):
        SEAChatModel(model="tiny", chat_template=source)


def test_a_refusal_is_read_as_its_words() -> None:
    block = {"type": "refusal", "refusal": "No."}
    asked = HumanMessage("a")
    for content in ([block], [{"type": "text", "text": "No."}, block]):
        assert to_template_messages([asked, AIMessage(content)])[1]["content"] == "No."


@pytest.mark.parametrize(("opening", "closing"), THOUGHT_TAGS)
@pytest.mark.parametrize("is_open", [True, False])
def test_reasoning_is_read_whoever_opened_it(opening: str, closing: str, *, is_open: bool) -> None:
    text = f"{'' if is_open else opening}\nhm {closing}\n\n37"
    assert split_reasoning(text, is_open=is_open) == ("hm", "37")


def test_reasoning_without_an_end() -> None:
    assert split_reasoning("hm", is_open=True, is_cut=True) == ("hm", "")
    assert split_reasoning("It is 37.", is_open=True) == (None, "It is 37.")
    assert split_reasoning(" 37") == (None, " 37")


@pytest.mark.parametrize("is_special", [True, False])
def test_a_prompt_may_end_in_reasoning(*, is_special: bool) -> None:
    tags = [AddedToken(tag, special=is_special, normalized=False) for tag in ("[THINK]", "[/THINK]")]
    template = ChatTemplate(tiny_tokenizer(chat_template=PLAIN + "{{ '[THINK]\n' }}", extra=tags))
    messages = [{"role": "user", "content": "a"}]
    assert template.find_open_thought(template.chat(messages, None)) == "[/THINK]"
    assert ChatTemplate(tiny_tokenizer()).find_open_thought(template.chat(messages, None)[:-4]) is None
