"""Which packages a command installs or runs from a registry."""

from __future__ import annotations

import re

__all__ = ["list_packages"]

_INSTALL = re.compile(
    r"\b(?:pip3?|pipx|uv(?:\s+(?:pip|tool))?|poetry|pdm|conda|mamba|npm|yarn(?:\s+global)?|pnpm|bun|gem|cargo|go|brew|apt(?:-get)?|dnf|yum|apk|pacman|snap|choco|winget|composer|nuget|deno|code|R)"
    r"(?:\s+-{1,2}[\w=-]+)*\s+(?:install|add|i|get|require|run|-S|--install-extension|exec|dlx)\s+([^\n;&|]{1,1000})"
    r"|\b(?:npx|uvx|bunx|pnpx)\s+([^\n;&|]{1,300})"
)
_VALUE_FLAGS = frozenset(
    "-r --requirement -c --constraint -e --editable -t --target -i --index-url --extra-index-url -f --find-links --prefix --registry -n --name --channel --group -G -E --extras --python".split()
)
_RUNNING = re.compile(r"\b(?:npx|uvx|bunx|pnpx|exec|dlx|run)\s+$")
_NAME = re.compile(r"@?[A-Za-z][\w.-]*(?:/[\w.@-]+)*")
_COMMON = frozenset(
    "pytest pytest-cov pytest-asyncio pytest-xdist numpy pandas scipy matplotlib seaborn requests httpx flask django fastapi uvicorn pydantic sqlalchemy alembic black ruff mypy flake8 isort pylint tox nox pre-commit"
    " scikit-learn torch tensorflow transformers jupyter ipython notebook pip setuptools wheel build twine poetry uv click rich typer pyyaml beautifulsoup4 lxml pillow openpyxl boto3 redis celery gunicorn"
    " jest vitest mocha chai eslint prettier typescript ts-node tsx vite webpack react react-dom next vue svelte express axios lodash dotenv nodemon playwright cypress husky tailwindcss postcss rollup esbuild"
    " git curl wget jq make gcc cmake ripgrep tree vim rspec rails bundler rake tsc create-react-app create-next-app create-vite rimraf serve http-server concurrently cross-env npm-check-updates".split()
)


def list_packages(text: str) -> list[str]:
    """List the packages that a text's commands take from a registry; files, and those that everybody uses, are left out."""
    names: list[str] = []
    for match in list(_INSTALL.finditer(text[:8_000]))[:40]:
        words, skips = (match[1] or match[2]).replace("'", " ").replace('"', " ").split(), False
        is_run = match[2] is not None or _RUNNING.search(
            match[0][: match.start(1) - match.start()] if match[1] else "npx "
        )
        if (
            match[1] is not None
            and re.search(r"\brun\s+$", match[0][: match.start(1) - match.start()])
            and "pipx" not in match[0]
        ):
            continue
        for word in words:
            if skips or word.startswith("-"):
                skips = word in _VALUE_FLAGS
                continue
            plain = re.split(r"(?<!^)@|[=<>~!\[;]", word, maxsplit=1)[0]
            if (
                _NAME.fullmatch(plain)
                and plain.lower() not in _COMMON
                and not re.search(r"\.(?:txt|toml|whl|tgz|gz|py|js)$", plain)
            ):
                names.append(plain)
            if is_run:
                break
    return list(dict.fromkeys(names))
