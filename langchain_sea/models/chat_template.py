"""Messages and text to ids, and no text ever becomes a control token. Knows the tokenizer, no model."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jinja2

from langchain_sea.errors import ChatTemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

_PRIVATE_USE = range(0xE000, 0xF900)


_BLANKS = " \t\r\n\u2581"


class ChatTemplate:
    """A tokenizer and its chat template, both left as they are.

    Attributes:
        special: the ids that stand for no text: those that the tokenizer itself calls special.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None) -> None:
        """Read the tokenizer's added tokens once.

        Args:
            tokenizer: any tokenizer of `transformers`.
            chat_template: Jinja source; None takes the tokenizer's own.
        """
        self._tokenizer, self._chat_template = tokenizer, chat_template
        added = {i: token for i, token in tokenizer.added_tokens_decoder.items() if token.content}
        special = {i: token.content for i, token in added.items() if token.special}
        special |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        # of the others, `<tool_call>` or `[INST]` structure a chat; blanks and words do not
        markup = {
            i: token.content
            for i, token in added.items()
            if not (token.content.strip(_BLANKS)[:1] or "a").isalnum()
        }
        self.special = frozenset(special)
        self._special, self._control = special, markup | special
        self._openings = {
            s[:n] for s in self._control.values() if not s[0].isalnum() for n in range(1, len(s))
        }
        roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self._unknown = None if tokenizer.unk_token_id in roles else tokenizer.unk_token_id

    @property
    def supports_tools(self) -> bool:
        """Whether the template has a place for tools."""
        source = self._chat_template or self._tokenizer.chat_template
        return "tools" in (source if isinstance(source, str) else "")

    def encode(self, text: str) -> list[int]:
        """The ids of text, the strings of special tokens split as text."""
        return self._encode_pieces(self._split(text, self._special))

    def is_control_token(self, text: str) -> bool:
        """Whether this is a control token."""
        return text in self._control.values()

    def markup(self, text: str) -> list[int]:
        """The ids of text of our own, in which control strings are control tokens."""
        return self._encode(text) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def chat(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None) -> list[int]:
        """The ids of a conversation up to where the answer begins.

        Inside every string of `messages` and `tools` that holds a control string, that string is broken in
        two by a private character; the template renders, and what lies between the breaks is encoded apart.

        Raises:
            ChatTemplateError: there is no template, or it rejects the messages.
        """
        if not messages:
            raise ValueError("no messages: a conversation needs at least one to answer.")
        everything = json.dumps([messages, tools], ensure_ascii=False, default=str)
        mark = next(
            (chr(c) for c in _PRIVATE_USE if chr(c) not in everything and _escape(chr(c)) not in everything),
            None,
        )
        if mark is None:
            raise ChatTemplateError("the messages use every private-use character; remove some of them.")
        broken = [self._break(dict(message), mark) for message in messages]
        shown = None if tools is None else [self._break(dict(t), mark) for t in tools]
        try:
            rendered = self._render(broken, shown)
        except ChatTemplateError:
            if broken[0].get("role") != "system" or len(broken) == 1:
                raise
            rendered = self._render(_without_system(broken), shown)  # some templates know none
        ids = self._encode_pieces(rendered.replace(_escape(mark), mark).split(mark))
        if not ids:
            raise ChatTemplateError("the chat template rendered these messages to nothing.")
        return ids

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        if self._chat_template is None and self._tokenizer.chat_template is None:
            raise ChatTemplateError(
                f"the tokenizer {self._tokenizer.name_or_path!r} has no chat template, so messages cannot be "
                "written as a prompt; pass chat_template= with the Jinja source its model was trained on."
            )
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages,
                tools=list(tools) if tools is not None else None,
                chat_template=self._chat_template,
                add_generation_prompt=True,
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

    def _break(self, value: Any, mark: str) -> Any:  # noqa: ANN401 - the leaves of a template's dicts
        """The same value with `mark` wherever one of its strings would hold, or open, a control string."""
        if isinstance(value, dict):
            return {self._break(key, mark): self._break(entry, mark) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self._break(entry, mark) for entry in value]
        if not isinstance(value, str):
            return value
        body = value.rstrip()
        pieces = self._split(body, self._control)
        # the template may put another text right behind this one, without the blanks between
        closing = mark if any(map(body.endswith, self._openings)) else ""
        return mark.join(pieces) + closing + value[len(body) :]

    def _split(self, text: str, control: dict[int, str]) -> list[str]:
        """The text in pieces that each encode to none of `control`; one piece if the whole does not.

        A character that is a control token all by itself is left out.
        """
        found = {i: control[i] for i in control.keys() & self._encode(text)}
        if all(i == self._unknown and string not in text for i, string in found.items()):
            return [text]
        if len(text) == 1:
            return []
        starts = re.finditer(f"(?={'|'.join(map(re.escape, found.values()))})", text)
        # a normaliser may hide where they are: then by halves
        cuts = [start.start() + 1 for start in starts if start.start() + 1 < len(text)] or [len(text) // 2]
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [part for piece in pieces for part in self._split(piece, control)]

    def _encode_pieces(self, pieces: Sequence[str]) -> list[int]:
        """The ids of pieces of one text, each encoded apart."""
        ids = self._encode(pieces[0]) if pieces else []
        return ids + [i for piece in pieces[1:] if piece for i in self._encode_inside(piece)]

    def _encode_inside(self, piece: str) -> list[int]:
        """The ids of a piece that is not the first, without the blank that some tokenizers put before it."""
        newline, ids = self._encode("\n"), self._encode("\n" + piece)
        begins = ids[: len(newline)] == newline
        return ids[len(newline) :] if begins else self._encode(piece)

    def _encode(self, text: str) -> list[int]:
        # whatever the tokenizer's defaults: a begin token comes from the template alone
        return list(
            self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False, verbose=False)
        )


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the system says, said by the first user."""
    first, rest = messages[0], messages[1:]
    if rest[0].get("role") == "user":
        return [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{**first, "role": "user"}, *rest]


def _escape(character: str) -> str:
    """How JSON in ASCII writes it."""
    return f"\\u{ord(character):04x}"
