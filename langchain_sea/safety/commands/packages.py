"""Which packages a command installs or runs from a registry. Knows no conversation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["list_packages", "list_program_addresses"]

_MAX_LENGTH = 8_000  # characters that are read
_INSTALLERS = (
    "npm|pnpm|yarn|bun|pip3?|pipx|uv|poetry|pdm|conda|mamba|cargo|gem|go|apt|apt-get|brew|dnf|yum|apk|pacman|snap|choco"
    "|winget|composer|nuget|dotnet|deno|code|R"
)
_INSTALL = re.compile(
    rf"\b(?:(?:{_INSTALLERS})\s+(?:-\S+\s+|pip\s+|global\s+|tool\s+){{0,4}}"
    r"(?:install|i|add|get|require|-S|--install-extension)|npx|uvx|bunx|pnpx|pipx\s+run|(?:pnpm|yarn)\s+dlx|npm\s+exec)"
    r"\s+([^;&|\n<>]{1,400})",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    rf"\b(?:(?:{_INSTALLERS})\s|npx|uvx|bunx|pnpx|rpm\s|dpkg\s|deno\s+(?:run|install)|bun\s+run|kubectl\s+(?:apply|create|replace)|helm\s+(?:install|upgrade|plugin)|docker\s+(?:build|import|compose)|terraform\s+init|ansible-(?:galaxy|pull)|gh\s+extension|tmux\s+source)"
    r"[^;&|\n<>]{0,200}?\s(?:-\w\s*|--[\w-]+=|\w+@)?['\"]?((?:git\+)?(?:https?|ssh|git|ftp|file)://[^\s;&|<>'\"]+)",
    re.IGNORECASE,
)
"""A program that is installed or run from an address."""
_RUNS_FIRST = re.compile(r"(?:npx|uvx|bunx|pnpx|pipx\s+run|(?:pnpm|yarn)\s+dlx|npm\s+exec)\b", re.IGNORECASE)
_WITH_VALUE = frozenset(
    "-r --requirement -c --constraint -e --editable -t --target -i --index-url --extra-index-url -f --find-links "
    "--prefix --registry -n --name --channel --group -G -E --extras --python".split()
)
_VERSION = re.compile(r"(?<=[\w\])])(?:[=<>!~^].*|@[\d^~v].*|@latest|\[.*)$")
_NAME = re.compile(r"@?[A-Za-z][\w.-]*(?:/[\w.@-]+)*")
_FILES = (".txt", ".whl", ".tgz", ".gz", ".toml", ".py", ".js")
_COMMON = frozenset(
    "pytest pytest-cov pytest-asyncio pytest-xdist numpy pandas scipy matplotlib seaborn requests httpx flask django "
    "fastapi uvicorn pydantic sqlalchemy alembic black ruff mypy flake8 isort pylint tox nox pre-commit scikit-learn "
    "torch tensorflow transformers jupyter ipython notebook pip setuptools wheel build twine poetry uv click rich typer "
    "pyyaml beautifulsoup4 lxml pillow openpyxl boto3 redis celery gunicorn jest vitest mocha chai eslint prettier "
    "typescript ts-node tsx vite webpack react react-dom next vue svelte express axios lodash dotenv nodemon playwright "
    "cypress husky tailwindcss postcss rollup esbuild git curl wget jq make gcc cmake ripgrep tree vim rspec rails "
    "bundler rake tsc create-react-app create-next-app create-vite rimraf serve http-server concurrently cross-env "
    "npm-check-updates".split()
)


def list_packages(command: str) -> list[str]:
    """List the packages that a command takes from a registry.

    Local folders, files and lists are left out, and packages that nearly every project uses.
    """
    return list(dict.fromkeys(name for match in _INSTALL.finditer(command[:_MAX_LENGTH]) for name in _read(match)))


def list_program_addresses(command: str) -> list[str]:
    """List the addresses from which a command installs or runs a program: `pip install https://…`, `kubectl apply -f https://…`."""
    return list(dict.fromkeys(match[1] for match in _ADDRESS.finditer(command[:_MAX_LENGTH])))


def _read(match: re.Match[str]) -> Iterator[str]:
    """Yield the names of one command that installs packages, or of the one package that it runs."""
    is_value = False
    for word in match[1].split():
        text = word.strip("'\"")
        if is_value or text.startswith("-"):
            is_value = not is_value and text in _WITH_VALUE
            continue
        name = _VERSION.sub("", text)
        if _NAME.fullmatch(name) and not name.endswith(_FILES) and name.lower() not in _COMMON:
            yield name
        if _RUNS_FIRST.match(match[0]):
            return
