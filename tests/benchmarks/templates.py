"""Chat templates of many families, each with many conversations, and what of them is in the prompts: `--json FILE`.

The templates are those of `chat_templates/`, of the packages that are installed (files that end in `.jinja`, GGUF files
and tokenizers), and of the folders that `--folder` names. A prompt is made by the package's own path, from LangChain's
messages to token ids. Each text, name, argument and result is a word of its own; the words are counted in the decoded
prompt. A `silent_loss` is a prompt without an error in which a word is missing, is there too often, or comes too early.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from template_conversations import CONVERSATIONS, Conversation
from template_corner_cases import CORNER_CASES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from langchain_sea.chat.messages import to_template_messages
from langchain_sea.errors import ChatTemplateError
from langchain_sea.models.chat_template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ALL = (*CONVERSATIONS, *CORNER_CASES)
FOLDER = Path(__file__).parent / "chat_templates"
_PACKAGES = Path(json.__file__).parent / "site-packages"
_READS_ROLES = re.compile(r"""\w(\.role\b|\[['"]role['"]\])""")
_MARKER = re.compile(r"<[|/｜]?[A-Za-z_▁][^<>\s{}'\"]*>|\[/?[A-Z_]{4,}\]")
_MOST_BYTES = 100_000  # a larger file is no chat template


def make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes with this chat template, whose markers are control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(marker, normalized=False) for marker in sorted({*_MARKER.findall(template)})]
    )
    names = dict(zip(("bos_token", "eos_token", "pad_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **names)


def write_prompt(template: str, conversation: Conversation) -> str:
    """Return the prompt of a conversation as text.

    Raises:
        ChatTemplateError: the template cannot express the conversation.
    """
    tokenizer = make_tokenizer(template)
    messages = to_template_messages(conversation.messages)
    ids = ChatTemplate(tokenizer).chat(messages, list(conversation.tools) or None)
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def find_faults(prompt: str, conversation: Conversation) -> list[str]:
    """Return what is wrong with a prompt: words that are missing, repeated, or before an earlier message's words."""
    faults = []
    for word, (least, most) in conversation.counts.items():
        number = prompt.count(word)
        if number < least:
            faults.append(f"{word} is missing" if number == 0 else f"{word} is there {number} times of {least}")
        if most is not None and number > most:
            faults.append(f"{word} is repeated: {number} times")
    places = [prompt.find(word) for word in conversation.order]
    if not faults and places != sorted(places):
        faults.append(f"the order is not {', '.join(conversation.order)}")
    return faults


def read_folder(folder: Path) -> dict[str, str]:
    """Return the templates of a folder, by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


def read_sources() -> dict[str, dict[str, str]]:
    """Return family, source and licence of each template of `chat_templates/`."""
    entries = tomllib.loads((FOLDER / "sources.toml").read_text(encoding="utf-8"))["template"]
    return {entry["name"]: entry for entry in entries}


def read_installed(packages: Path | None = None) -> dict[str, str]:
    """Return the chat templates in the packages that are installed, each once."""
    packages = packages or next((Path(p) for p in sys.path if p.endswith("site-packages")), _PACKAGES)
    templates: dict[str, str] = {}
    for path in sorted(
        [*packages.rglob("*.jinja"), *packages.rglob("tokenizer_config.json"), *packages.rglob("*.gguf")]
    ):
        for number, text in enumerate(_templates_in(path)):
            if "messages" in text and text not in templates.values():
                templates[f"{path.relative_to(packages)}{f' ({number})' if number else ''}"] = text
    return templates


def _templates_in(path: Path) -> Iterator[str]:
    if path.suffix == ".gguf":
        yield from _read_gguf(path)
    elif path.stat().st_size > _MOST_BYTES:
        return
    elif path.suffix == ".jinja":
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from [text] if _READS_ROLES.search(text) else []
    else:
        given = json.loads(path.read_text(encoding="utf-8")).get("chat_template") or []
        yield from [given] if isinstance(given, str) else [entry["template"] for entry in given]


def _read_gguf(path: Path) -> Iterator[str]:
    try:
        from gguf import GGUFReader
    except ImportError:
        return
    try:
        fields = GGUFReader(path).fields
    except (ValueError, OSError):  # a part of a file that was split
        return
    if (field := fields.get("tokenizer.chat_template")) is not None:
        yield str(field.contents())


def measure(templates: Mapping[str, str], conversations: Iterable[Conversation] = ALL) -> dict[str, Any]:
    """Return the figures, with every case that is wrong or refused.

    Args:
        templates: Jinja texts by name.
        conversations: which are written in each of them.
    """
    conversations = tuple(conversations)
    losses: list[str] = []
    errors: list[str] = []
    for name, template in templates.items():
        for conversation in conversations:
            try:
                faults = find_faults(write_prompt(template, conversation), conversation)
            except ChatTemplateError as error:
                errors.append(f"{name}, {conversation.name}: {error}")
                continue
            losses += [f"{name}, {conversation.name}: {'; '.join(faults)}"] if faults else []
    return {
        "silent_losses": {"value": len(losses), "of": len(templates) * len(conversations), "cases": losses},
        "errors": {"value": len(errors), "messages": errors},
        "templates": {"value": len(templates), "names": list(templates)},
        "conversations": {"value": len(conversations), "names": [each.name for each in conversations]},
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="more templates, as *.jinja files")
    options = parser.parse_args()
    templates = read_folder(FOLDER) | read_installed()
    for folder in options.folder:
        templates |= {f"{folder.name}/{name}": text for name, text in read_folder(folder).items()}
    text = json.dumps(measure(templates), indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
