"""Files that users name: read as text or lines, with errors that say what should be in them. Knows no torch."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import FileError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["ENCODING", "describe_errors", "parse_json_lines", "read_text", "require_folder_of"]

ENCODING = "utf-8-sig"
"""Of files that users write: UTF-8, with or without the mark that Windows and Excel put at the beginning."""


@contextmanager
def describe_errors(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Raise the errors of reading a file as a `FileError`.

    Args:
        path: of the file.
        expected: what the file should hold, one sentence without its full stop.

    Raises:
        FileError: the file is missing, a folder, not readable, or not text.
    """
    try:
        yield
    except FileError:
        raise
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: it is not text in UTF-8 ({error}). Expected: {expected}.") from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}. Expected: {expected}.") from error


def read_text(path: str | os.PathLike[str], expected: str) -> str:
    """Return the text of a file.

    Args:
        path: of the file.
        expected: as in `describe_errors`.

    Raises:
        FileError: it cannot be read.
    """
    with describe_errors(path, expected):
        return Path(path).read_text(encoding=ENCODING)


def parse_json_lines(path: str | os.PathLike[str], expected: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of every line that is not blank.

    Args:
        path: of the file.
        expected: as in `describe_errors`.

    Raises:
        FileError: the file cannot be read, or a line is not JSON; the message has its number.
    """
    with describe_errors(path, expected), Path(path).open(encoding=ENCODING) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise FileError(f"{path}, line {number}: no JSON ({error}). Expected: {expected}.") from error
                yield number, value


def require_folder_of(path: Path) -> None:
    """Check that a file can be put where a user wants it, before it takes hours to make it.

    Raises:
        FileError: its folder does not exist, or it is a folder itself.
    """
    if path.is_dir():
        raise FileError(f"{path}: it is a folder; pass the name of a file in it.")
    if not path.absolute().parent.is_dir():
        raise FileError(f"{path}: there is no folder {path.parent} to write it to; make it first.")
