"""Which packages a command installs. Knows no conversation."""

from __future__ import annotations

import re

__all__ = ["find_packages"]

_INSTALL = re.compile(
    r"\b(?:(?:npm|pnpm|yarn|bun|pip3?|pipx|uv|poetry|conda|mamba|cargo|gem|go|apt|apt-get|brew|dnf|yum|apk|composer|dotnet)\s+"
    r"(?:-\S+\s+|pip\s+|global\s+|tool\s+){0,4}(?:install|i|add|get|require)|npx|uvx|bunx|pnpm\s+dlx)\s+([^;&|\n<>]{1,400})",
    re.IGNORECASE,
)
_WITH_VALUE = frozenset(
    [
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-e",
        "--editable",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "-t",
        "--target",
        "--prefix",
        "-n",
        "--name",
        "--registry",
    ]
)
_VERSION = re.compile(r"(?<=[\w\])])(?:[=<>!~^].*|@[\d^~v].*|@latest|\[.*)$")


def find_packages(command: str) -> list[str]:
    """List the names of the packages that a command installs or runs; local folders and lists are left out."""
    packages = []
    for match in _INSTALL.finditer(command):
        is_value = is_run = False
        for word in match[1].split():
            text = word.strip("'\"")
            if is_value or is_run:
                is_value = False
                continue
            if text.startswith("-"):
                is_value = text in _WITH_VALUE
                continue
            is_local = text.startswith((".", "/", "~", "$")) or text.endswith((".txt", ".whl", ".tgz", ".toml"))
            if not is_local and (name := _VERSION.sub("", text)):
                packages.append(name)
            is_run = match.group().split()[0].lower() in ("npx", "uvx", "bunx")
    return packages
