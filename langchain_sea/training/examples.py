r"""Read training files: scored answers, preference pairs and dialogues.

Each line is one JSON object in one of the forms:

    {"prompt": …, "answer": str, "label": 0 … 1}       also `completion` or `response`; optional "split",
                                                       "whole": true, and "opening": str
    {"prompt": …, "chosen": …, "rejected": …}          TRL's; strings or message lists
    {"chosen": […messages], "rejected": […messages]}   TRL's with the prompt inside
    {"chosen": "\n\nHuman: …\n\nAssistant: …", "rejected": "…"}  dialogues as HH has them
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.core.files import ENCODING, describe_errors
from langchain_sea.errors import FileError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

__all__ = [
    "GOOD_LABEL",
    "HELD_OUT",
    "DataError",
    "Example",
    "drop_blank_answers",
    "hash_fraction",
    "parse_json_object",
    "read_examples",
    "sample_examples",
]

GOOD_LABEL = 0.5
"""Labels above it count as good where a figure needs two classes."""
HELD_OUT = frozenset({"heldout", "held-out", "held_out", "test", "validation"})
_FORMS = (
    'one of {"prompt", "answer" or "completion" or "response", "label"}, {"prompt", "chosen", "rejected"}, '
    '{"chosen": messages, "rejected": messages}, or {"chosen", "rejected"} with "\\n\\nHuman: " dialogues'
)
_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class DataError(FileError):
    """A training file cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One answer with its label.

    Attributes:
        messages: the conversation before it, as template dicts.
        answer: its text.
        label: from 0, bad, to 1, good.
        split: `train`, or the file's own word; examples of the splits in `HELD_OUT` are never trained on.
        pair: the same number for the chosen and the rejected answer of one line; None for a scored answer.
        whole: the label is about the whole answer only, and not about its prefixes: its opening was forced, or what
            made it bad came later.
        opening: what the assistant had already said when the answer began; not part of it.
    """

    messages: tuple[dict[str, Any], ...]
    answer: str
    label: float
    split: str = "train"
    pair: int | None = None
    whole: bool = False
    opening: str = ""

    @property
    def conversation_key(self) -> str:
        """Identifies the conversation, whatever the opening; examples with equal keys must stay in one split."""
        return json.dumps(self.messages, sort_keys=True, ensure_ascii=False)

    @property
    def key(self) -> str:
        """Identifies the conversation with its opening, which is read once."""
        return self.conversation_key + self.opening

    @property
    def is_held_out(self) -> bool:
        """Whether it may be used for measurements only."""
        return self.split in HELD_OUT

    @property
    def is_good(self) -> bool:
        """Whether the label is nearer to good than to bad."""
        return self.label > GOOD_LABEL


def read_examples(path: str | os.PathLike[str], *, held_out: float = 0.15) -> list[Example]:
    """Read the examples of a JSONL file, in its order; of a pair the chosen answer comes first.

    Args:
        path: the file.
        held_out: the fraction of prompts that is held out if a line names no split, chosen by the prompt's checksum.

    Raises:
        DataError: a line is in none of the forms, or the file has none.
        FileError: the file cannot be read.
    """
    examples: list[Example] = []
    with describe_errors(path, f"JSON lines; each is {_FORMS}"), Path(path).open(encoding=ENCODING) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    examples += _parse(line, number, held_out)
                except DataError as error:
                    raise DataError(f"{path}, line {number}: {error}. Each line is {_FORMS}.") from error
    if not examples:
        raise DataError(f"{path} has no examples. Each line is {_FORMS}.")
    return examples


def hash_fraction(key: str, salt: str = "") -> float:
    """Return a number in [0, 1) that depends on the key and the salt only: splits are made by it."""
    return zlib.crc32(f"{salt}{key}".encode()) % 10_000 / 10_000


def _parse(line: str, number: int, held_out: float) -> Iterator[Example]:
    row = parse_json_object(line)
    parts = _pair(row) if "chosen" in row or "rejected" in row else _scored(row)
    pair = number if len(parts) > 1 else None
    for messages, answer, label in parts:
        example = Example(messages=messages, answer=answer, label=label, pair=pair)
        if not (split := row.get("split")):
            # the first part's prompt decides, so that a pair is never split
            key = Example(messages=parts[0][0], answer="", label=0).conversation_key
            split = "heldout" if hash_fraction(key) < held_out else "train"
        opening = row.get("opening", "")
        if not isinstance(opening, str):
            raise DataError(f'"opening" is {opening!r}, not text')
        yield replace(example, split=str(split), whole=bool(row.get("whole")), opening=opening)


Part = tuple[tuple[dict[str, Any], ...], str, float]


def parse_json_object(line: str) -> dict[str, Any]:
    """Parse the JSON object of one line.

    Raises:
        DataError: it is anything else.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"a JSON {type(row).__name__}, not an object")
    return row


def _scored(row: dict[str, Any]) -> list[Part]:
    answer = next((row[name] for name in ("answer", "completion", "response") if name in row), None)
    if "prompt" not in row or answer is None:
        raise DataError(f"the keys {sorted(row)} are not those of a known form")
    label = row.get("label")
    if isinstance(label, bool):
        label = int(label)
    if not isinstance(label, int | float) or not 0 <= label <= 1:
        raise DataError(f'"label" is {label!r}, not a number from 0 to 1')
    return [(_conversation(row["prompt"]), _answer(answer), float(label))]


def _pair(row: dict[str, Any]) -> list[Part]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if "prompt" in row:
        prompt = _conversation(row["prompt"])
        return [(prompt, _answer(chosen), 1.0), (prompt, _answer(rejected), 0.0)]
    parts = [(*_split_dialogue(side), label) for side, label in ((chosen, 1.0), (rejected, 0.0))]
    if parts[0][0] != parts[1][0]:
        raise DataError('"chosen" and "rejected" differ before their last assistant turn')
    return parts


def _split_dialogue(side: object) -> tuple[tuple[dict[str, Any], ...], str]:
    """Split a dialogue into everything before the last assistant turn, and that turn."""
    messages = _dialogue(side) if isinstance(side, str) else list(_conversation(side))
    *before, answer = messages
    if not before or answer["role"] != "assistant":
        raise DataError("a dialogue must contain a question and end with an assistant turn")
    return tuple(before), _answer([answer])


def _dialogue(text: str) -> list[dict[str, Any]]:
    before, *turns = _TURN.split(text if text.startswith("\n") else f"\n\n{text}")
    if before.strip() or not turns:
        raise DataError(f"a dialogue begins with {text[:30]!r}, not with 'Human: '")
    contents = [content.strip() for content in turns[1::2]]
    return [{"role": _ROLES[r], "content": c} for r, c in zip(turns[::2], contents, strict=True)]


def _conversation(prompt: object) -> tuple[dict[str, Any], ...]:
    if isinstance(prompt, str) and prompt.strip():
        return ({"role": "user", "content": prompt},)
    if isinstance(prompt, list) and prompt and all(_is_message(message) for message in prompt):
        return tuple(prompt)
    raise DataError(f"{str(prompt)[:60]!r} is neither text nor a list of role-and-content messages")


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and {"role", "content"} <= message.keys()


def _answer(answer: object) -> str:
    """Return an answer that is a text, or the content of one assistant message."""
    if isinstance(answer, str):
        return answer
    messages: Sequence[dict[str, Any]] = _conversation(answer)
    if len(messages) != 1 or messages[0]["role"] != "assistant" or not isinstance(messages[0]["content"], str):
        raise DataError(f"the answer {str(answer)[:60]!r} is not text and not one assistant message")
    return messages[0]["content"]


def drop_blank_answers(examples: Sequence[Example]) -> list[Example]:
    """Return the examples whose answer is not blank; a pair with a blank answer is dropped as a whole."""
    blank = {example.pair for example in examples if not example.answer.strip()} - {None}
    return [example for example in examples if example.answer.strip() and example.pair not in blank]


def sample_examples(examples: Sequence[Example], limit: int | None, seed: int = 0) -> list[Example]:
    """Return at most `limit` examples in their order, with whole pairs; the seed decides which."""

    def rank(example: Example) -> tuple[float, str]:
        name = example.key + (example.answer if example.pair is None else str(example.pair))
        return hash_fraction(name, f"{seed}:"), name

    if limit is None or len(examples) <= limit:
        return list(examples)
    bound = sorted(map(rank, examples))[limit]
    return [example for example in examples if rank(example) < bound]
