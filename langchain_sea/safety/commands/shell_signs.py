"""Signs of an attack that show in the whole text of a command, whatever its parts are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REVERSE_SHELLS", "find_fork_bomb"]

_FORK_BOMB = r"(\S{1,20})\s*\(\s*\)\s*\{\s*(\S{1,20})\s*\|\s*(\S{1,20})\s*&"
REVERSE_SHELLS = (
    ("it opens a shell to another machine", r"/dev/(?:tcp|udp)/[^\s/]+/\d+|\b(?:nc|ncat|netcat)\b[^\n|;]{0,120}\s(?:-\w*[ec]\b|--(?:sh-)?exec)|\bsocat\b[^\n]{0,200}\b(?:exec|system):"
     r"|\bmkfifo\b[^\n]{0,200}\b(?:nc|ncat|netcat|openssl|telnet)\b|\bsocket\b[^\n]{0,300}\b(?:dup2|pty\.spawn|subprocess|fsockopen|/bin/(?:ba)?sh)|\bfsockopen\b[^\n]{0,200}\bexec|\bTCPSocket\b[^\n]{0,200}\bexec"
     r"|\bNew-Object\s+(?:System\.)?Net\.Sockets\.TCPClient|\bIO::Socket::INET\b[^\n]{0,300}\bexec"),
)  # fmt: skip


def find_fork_bomb(text: str) -> Iterator[Danger]:
    """Yield a function of a shell that calls itself twice: it fills the machine."""
    if (bomb := compile_pattern(_FORK_BOMB).search(text)) and bomb[1] == bomb[2] == bomb[3]:
        yield Danger(f"it starts itself again and again ({bomb[0][:40]!r})", is_certain=True)
