"""Reads a chat template that a caller passes: Jinja text or a file. Loads no tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

from langchain_sea.core.files import ENCODING
from langchain_sea.errors import ChatTemplateError

__all__ = ["read_chat_template"]


def read_chat_template(source: str | os.PathLike[str]) -> str:
    """Return the Jinja text of a template, checked for its syntax.

    Args:
        source: Jinja text, or the path of a file that holds it.

    Raises:
        ChatTemplateError: there is no such file, it is no Jinja text, or it never reads the messages.
    """
    is_text = isinstance(source, str) and any(mark in source for mark in ("{{", "{%", "{#", "\n"))
    text = source if isinstance(source, str) and is_text else _read_file(Path(source))
    _check(text)
    return text


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding=ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise ChatTemplateError(
            f"chat_template={os.fspath(path)!r} is neither Jinja text nor a file that can be read ({error}); pass the "
            "template itself, with its {{ … }} and {% … %}, or the path of a file that holds it."
        ) from error


def _check(text: str) -> None:
    import jinja2  # noqa: PLC0415 - few models have a template of their own
    from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: PLC0415 - takes seconds

    try:
        _compile_jinja_template(text)
    except jinja2.TemplateSyntaxError as error:
        lines = text.splitlines()
        line = lines[error.lineno - 1].strip() if 0 < error.lineno <= len(lines) else ""
        raise ChatTemplateError(
            f"chat_template is no valid Jinja text: {error.message} (line {error.lineno}: {line[:80]!r}); correct "
            "the template, or leave it out to use the tokenizer's own."
        ) from error
    if "messages" not in text:
        raise ChatTemplateError(
            "chat_template never reads `messages`, so that no prompt would hold the conversation; pass a chat template "
            "such as those in tokenizer_config.json or chat_template.jinja of a chat model."
        )
