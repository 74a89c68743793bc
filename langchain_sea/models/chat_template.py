"""Encodes messages and text such that no text becomes a control token. Knows the tokenizer, no model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from langchain_sea.errors import ChatTemplateError
from langchain_sea.models.template_check import find_displaced, find_missing, find_unprinted, mark_parts
from langchain_sea.models.template_fallbacks import name_tools, ways_to_write
from langchain_sea.models.template_markers import THOUGHT_TAGS, find_written_markers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PRIVATE_USE = range(0xE000, 0xF900)
_SHOWN = 60  # characters of a text that an error quotes
_TAIL = 32  # ids: a tag and the blanks behind it, letter by letter
_BLANKS = " \t\r\n\u2581"


class ChatTemplate:
    """A tokenizer and its chat template; neither is changed.

    Attributes:
        control: all tokens that structure a chat, by id.
        special: the ids that represent no text: those that the tokenizer marks as special, but for `written`.
        written: the special ids that an answer may hold.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        *,
        needs_all: bool = True,
        writes: bool = False,
    ) -> None:
        """Collect the control tokens of the tokenizer.

        Args:
            tokenizer: any tokenizer of `transformers`.
            chat_template: Jinja source; None takes the tokenizer's own.
            needs_all: whether a prompt must hold the whole conversation; else its last message.
            writes: whether the tokenizer's model writes answers: `encode` and `decode` then keep the markers of
                calls and reasoning, which are the model's own. In a conversation they are text as ever.
        """
        self._needs_all = needs_all
        self._tokenizer, self._chat_template = tokenizer, chat_template
        added = {i: token for i, token in tokenizer.added_tokens_decoder.items() if token.content}
        special = {i: token.content for i, token in added.items() if token.special}
        special |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        # of the other added tokens, `<tool_call>` or `[INST]` structure a chat; blanks and words do not
        markup = {
            i: token.content for i, token in added.items() if not (token.content.strip(_BLANKS)[:1] or "a").isalnum()
        }
        self.control = markup | special
        self.written = find_written_markers(special) if writes else frozenset[int]()
        self._special = {i: token for i, token in special.items() if i not in self.written}
        self.special = frozenset(self._special)
        self._openings = {s[:n] for s in self.control.values() if not s[0].isalnum() for n in range(1, len(s))}
        roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self._unknown = None if tokenizer.unk_token_id in roles else tokenizer.unk_token_id

    def encode(self, text: str) -> list[int]:
        """Encode text; the strings of special tokens, but for `written`, are split as text."""
        return self._encode_pieces(self._split(text, self._special))

    def is_control_token(self, text: str) -> bool:
        """Return whether this is a control token."""
        return text in self.control.values()

    def markup(self, text: str) -> list[int]:
        """Encode trusted text, in which control strings become control tokens."""
        return self._encode(text) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids without special tokens, but for `written`."""
        keeps = not self.written.isdisjoint(ids)
        shown = [i for i in ids if i not in self.special] if keeps else list(ids)
        text = self._tokenizer.decode(
            shown,
            skip_special_tokens=not keeps,
            clean_up_tokenization_spaces=False,
            spaces_between_special_tokens=False,
        )
        assert isinstance(text, str)
        return text

    def find_open_thought(self, ids: Sequence[int]) -> str | None:
        """Return the tag that closes the reasoning which these ids end in; None if they end elsewhere."""
        end = str(self._tokenizer.decode(list(ids[-_TAIL:]), skip_special_tokens=False)).rstrip()
        return next((closing for opening, closing in THOUGHT_TAGS if end.endswith(opening)), None)

    def chat(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None) -> list[int]:
        """Encode a conversation up to where the answer begins.

        Every control string inside `messages` and `tools` is cut in two by a private-use character. The
        template then renders, and the pieces between the cuts are encoded separately.

        Raises:
            ChatTemplateError: there is no template, or it rejects the messages.
            TypeError: the messages are no list of dicts with a role.
        """
        _require_messages(messages)
        if self._chat_template is None and self._tokenizer.chat_template is None:
            raise ChatTemplateError(
                f"the tokenizer {self._tokenizer.name_or_path!r} has no chat template, so messages cannot be "
                "written as a prompt; pass chat_template= with the Jinja source its model was trained on."
            )
        if not messages:
            raise ValueError("no messages: a conversation needs at least one to answer.")
        everything = json.dumps([messages, tools], ensure_ascii=False, default=str)
        mark = next(
            (chr(c) for c in _PRIVATE_USE if chr(c) not in everything and _escape(chr(c)) not in everything), None
        )
        if mark is None:
            raise ChatTemplateError("the messages use every private-use character; remove some of them.")
        cut_messages = [self._cut_control_strings(dict(message), mark) for message in messages]
        cut_tools = None if tools is None else [self._cut_control_strings(dict(t), mark) for t in tools]
        rendered = self._render_whole(cut_messages, cut_tools, mark)
        ids = self._encode_pieces(rendered.replace(_escape(mark), mark).split(mark))
        if not ids:
            raise ChatTemplateError("the chat template rendered these messages to nothing.")
        return ids

    def render_example(self, messages: list[dict[str, Any]]) -> str:
        """Render a conversation that is complete; nothing if the template prints it in no way."""
        for way, _ in ways_to_write(messages, None):
            try:
                rendered = self._render(way, None, opens_turn=False)
            except ChatTemplateError:
                continue
            if all(message["content"] in rendered for message in messages):
                return rendered
        return ""

    def _render_whole(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, mark: str) -> str:
        """Render the conversation in the first way in which all of it is printed.

        Raises:
            ChatTemplateError: there is no such way.
        """
        first_error: ChatTemplateError | None = None
        fewest: list[str] | None = None
        fault = "leaves out"
        whole = [_without_mark(part, mark) for part in (messages, tools)]
        wanted = [whole[0] if self._needs_all else whole[0][-1:], whole[1]]
        marked, marked_given, marks = mark_parts(_without_mark(messages, mark), whole[1], last=not self._needs_all)
        ways = zip(ways_to_write(messages, tools), ways_to_write(marked, marked_given), strict=True)
        for (way, shown), (marked_way, marked_tools) in ways:
            try:
                probe = self._render(marked_way, marked_tools)
                missing = find_unprinted(probe, marks)
                rendered = "" if missing else self._render(way, shown)
            except ChatTemplateError as error:
                first_error = first_error or error
                continue
            missing = missing or find_missing(rendered.replace(_escape(mark), "").replace(mark, ""), *wanted)
            displaced = [] if missing else find_displaced(probe, marked, marks)
            if not missing and not displaced:
                return rendered
            if fewest is None or len(missing or displaced) < len(fewest):
                fewest, fault = missing or displaced, "leaves out" if missing else "prints out of order"
        if fewest is None:
            assert first_error is not None
            raise first_error
        rejected = "" if first_error is None else f" Written in another way, {first_error}"
        listed = ", ".join(repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") for text in fewest[:3])
        raise ChatTemplateError(
            f"the chat template {fault} parts of this conversation, such as {listed}: the model would not see them "
            "as they are. Change the messages, or pass chat_template= with a template that prints them." + rejected
        )

    def _render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, opens_turn: bool = True
    ) -> str:
        if self._chat_template is None and self._tokenizer.chat_template is None:
            raise ChatTemplateError(
                f"the tokenizer {self._tokenizer.name_or_path!r} has no chat template, so messages cannot be "
                "written as a prompt; pass chat_template= with the Jinja source its model was trained on."
            )
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages,
                tools=list(tools) if tools is not None else None,
                **name_tools(self._tokenizer.get_chat_template(self._chat_template, tools), tools),
                chat_template=self._chat_template,
                add_generation_prompt=opens_turn,
                tokenize=False,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise ChatTemplateError(
                f"the chat template rejects messages with the roles {roles}: {error}; "
                "change the messages, or pass chat_template= with one that accepts them."
            ) from error
        assert isinstance(rendered, str)
        return rendered

    def _cut_control_strings(self, value: Any, mark: str) -> Any:  # noqa: ANN401 - the leaves of a template's dicts
        """Insert `mark` into every string of `value` that contains a control string or could begin one."""
        if isinstance(value, dict):
            cut = self._cut_control_strings
            return {cut(key, mark): cut(entry, mark) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self._cut_control_strings(entry, mark) for entry in value]
        if not isinstance(value, str):
            return value
        body = value.rstrip()
        pieces = self._split(body, self.control)
        # the template may append another text directly, without the blanks between them
        closing = mark if any(map(body.endswith, self._openings)) else ""
        return mark.join(pieces) + closing + value[len(body) :]

    def _split(self, text: str, control: dict[int, str]) -> list[str]:
        """Cut the text into pieces of which none encodes to an id of `control`; one piece if none needs a cut.

        A single character that is a control token is dropped.
        """
        controls = {i: control[i] for i in control.keys() & self._encode(text)}
        if all(i == self._unknown and string not in text for i, string in controls.items()):
            return [text]
        if len(text) == 1:
            return []
        starts = re.finditer(f"(?={'|'.join(map(re.escape, controls.values()))})", text)
        # a normalizer may hide the positions; then the text is halved
        cuts = [start.start() + 1 for start in starts if start.start() + 1 < len(text)] or [len(text) // 2]
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [part for piece in pieces for part in self._split(piece, control)]

    def _encode_pieces(self, pieces: Sequence[str]) -> list[int]:
        """Encode the pieces of one text separately."""
        ids = self._encode(pieces[0]) if pieces else []
        return ids + [i for piece in pieces[1:] if piece for i in self._encode_inside(piece)]

    def _encode_inside(self, piece: str) -> list[int]:
        """Encode a piece other than the first, without the blank that some tokenizers put before it."""
        newline, ids = self._encode("\n"), self._encode("\n" + piece)
        has_newline = ids[: len(newline)] == newline
        return ids[len(newline) :] if has_newline else self._encode(piece)

    def _encode(self, text: str) -> list[int]:
        # independent of the tokenizer's defaults: only the template adds a begin token
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False, verbose=False))


def _without_mark(value: Any, mark: str) -> Any:  # noqa: ANN401 - the leaves of a template's dicts
    """Return the value without the mark in its strings."""
    if isinstance(value, dict):
        return {_without_mark(key, mark): _without_mark(entry, mark) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_mark(entry, mark) for entry in value]
    return value.replace(mark, "") if isinstance(value, str) else value


def _escape(character: str) -> str:
    """Return the character as JSON in ASCII writes it."""
    return f"\\u{ord(character):04x}"


def _require_messages(messages: object) -> None:
    """Check that messages are a list of dicts with a role.

    Raises:
        TypeError: they are anything else; the message has an example.
    """
    wrong = messages
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        others = [each for each in messages if not (isinstance(each, Mapping) and isinstance(each.get("role"), str))]
        if not others:
            return
        wrong = others[0]
    raise TypeError(
        "a conversation is a list of dicts with role and content, such as "
        f'[{{"role": "user", "content": "What is 14 + 23?"}}], and got {wrong!r:.200}. Messages of LangChain are for '
        "SEAChatModel."
    )
