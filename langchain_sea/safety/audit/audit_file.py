"""The bytes of an append-only file of lines: whole appends, the last line, and what a crash left. Knows no rows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["append_whole", "read_last_line", "read_unfinished"]

_BLOCK = 65_536  # bytes that are read at once from the end of the file


def append_whole(path: Path, line: bytes, size: int) -> None:
    """Append the line to a file of this size, or leave the file as it is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)


def read_unfinished(path: Path) -> tuple[int, bytes]:
    """Return the file's size, and what follows its last line break."""
    if not path.exists():
        return 0, b""
    with path.open("rb") as file:
        position = size = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            block = file.read(position - start)
            if (end := block.rfind(b"\n")) >= 0:
                return size, block[end + 1 :] + rest
            rest, position = block + rest, start
    return size, rest


def read_last_line(path: Path) -> bytes:
    """Return the last line of a file that ends with a line break, without reading the whole file."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        line = b""
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            line, position = file.read(position - start) + line, start
            if (end := line.rfind(b"\n", 0, -1)) >= 0:
                return line[end + 1 :]
    return line
