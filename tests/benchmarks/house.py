"""How the package is laid out, as figures: `python tests/benchmarks/house.py --json FILE`.

Reads the source of `langchain_sea/` and imports nothing of it. `--list` names every place behind a figure, and
`--only PATH` looks at one folder or file.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "langchain_sea"
VAGUE = frozenset(
    """
    found told teller taken took tried typed begun began felt stands stood held wanted asked judged mended hushed
    said says shown kept heard gone came made given lives barred broken pulled carried settled mine alone halted
    ended alike near how leaving late beside somebody nobody whoever thing things stuff it
    """.split()  # noqa: SIM905 - a list of words reads best as a text
)
EMPTY = re.compile(r"^(the same\b|same\b|like above|see above|ditto|as (above|before|in|of|for|the|`))", re.IGNORECASE)
FIGURES = (
    "import_cycles",
    "root_modules",
    "private_modules",
    "longest_function",
    "longest_class",
    "longest_module",
    "vague_names",
    "repeated_class_names",
    "same_as_above_docstrings",
    "noqa",
    "wheel_lines",
    "wheel_mb",
)
Place = tuple[str, int, str]
"""A file, a line number, and a name or text on that line."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, packages by theirs."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def trees() -> dict[Path, ast.Module]:
    """The parsed source of every module."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in modules().values()}


def import_graph() -> dict[str, set[str]]:
    """Which modules each one imports, at the top, inside functions and for types alone."""
    names, graph = modules(), {}
    parsed = trees()
    for name, path in names.items():
        targets: set[str] = set()
        for node in ast.walk(parsed[path]):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                pairs = ((f"{node.module}.{alias.name}", node.module) for alias in node.names)
                targets |= {whole if whole in names else module for whole, module in pairs}
        graph[name] = (targets & set(names)) - {name}
    return graph


def import_cycles() -> list[list[str]]:
    """Strongly connected groups of two or more modules (Tarjan)."""
    graph, order = import_graph(), {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph[node]:
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            place = stack.index(node)
            group, stack[place:] = stack[place:], []
            if len(group) > 1:
                groups.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return groups


def shown_path(path: Path) -> str:
    """A path from the repository's root."""
    return path.relative_to(ROOT).as_posix()


def sizes(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> list[tuple[int, Place]]:
    """Lines of every function or class, the longest first."""
    places = [
        (node.end_lineno - node.lineno + 1, (shown_path(path), node.lineno, node.name))
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]
    return sorted(places, reverse=True)


def named(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that the code gives to a local, an argument, a function, a method, a field or an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def vague_names() -> list[Place]:
    """Names in `VAGUE`, which do not say what they hold; a leading underscore does not count."""
    return [
        (shown_path(path), line, name)
        for path, tree in trees().items()
        for line, name in named(tree)
        if name.strip("_") in VAGUE
    ]


def repeated_class_names() -> list[Place]:
    """Class names that are used more than once, private ones included."""
    by_name: dict[str, list[Place]] = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                by_name[node.name.lstrip("_")].append((shown_path(path), node.lineno, node.name))
    return [place for places in by_name.values() if len(places) > 1 for place in places[1:]]


def empty_docstrings() -> list[Place]:
    """Docstrings that only point at another one."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        (shown_path(path), node.lineno, text)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, kinds) and EMPTY.match(text := ast.get_docstring(node) or "")
    ]


def lint_ignores() -> list[Place]:
    """Lines with a `noqa`."""
    return [
        (shown_path(path), number, line.strip())
        for path in modules().values()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# noqa" in line
    ]


def wheel_megabytes() -> float:
    """Size of the package's files, packed as a wheel packs them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(ROOT))
    return round(len(buffer.getvalue()) / 1e6, 2)


def measure() -> tuple[dict[str, object], dict[str, list[Place]]]:
    """Every figure, and the places behind it."""
    paths = list(modules().values())
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    functions = sizes((ast.FunctionDef, ast.AsyncFunctionDef))
    classes = sizes(ast.ClassDef)
    by_length = sorted(((count, (shown_path(path), 1, "module")) for path, count in lines.items()), reverse=True)
    cycles = import_cycles()
    private = [path for path in paths if path.name.startswith("_") and path.name != "__init__.py"]
    root = [path for path in paths if path.parent == PACKAGE]
    places: dict[str, list[Place]] = {
        "import_cycles": [(", ".join(group), 0, "") for group in cycles],
        "root_modules": [(shown_path(path), 1, "") for path in root],
        "private_modules": [(shown_path(path), 1, "") for path in private],
        "longest_function": [(*place[:2], f"{place[2]}, {size} lines") for size, place in functions if size > 50],
        "longest_class": [(*place[:2], f"{place[2]}, {size} lines") for size, place in classes if size > 130],
        "longest_module": [(*place[:2], f"{size} lines") for size, place in by_length if size > 260],
        "vague_names": vague_names(),
        "repeated_class_names": repeated_class_names(),
        "same_as_above_docstrings": empty_docstrings(),
        "noqa": lint_ignores(),
    }
    figures: dict[str, object] = {name: len(found) for name, found in places.items()}
    for name, ranked in (("longest_function", functions), ("longest_class", classes), ("longest_module", by_length)):
        size, (path, line, label) = ranked[0]
        figures[name] = {"value": size, "where": f"{path}:{line} {label}"}
    figures |= {"wheel_lines": sum(lines.values()), "wheel_mb": wheel_megabytes()}
    return {name: figures[name] for name in FIGURES}, places


def main() -> None:
    """Print the figures, and write the file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    sys.setrecursionlimit(10_000)
    figures, places = measure()
    if arguments.list:
        for name, rows in places.items():
            for path, line, text in rows:
                if arguments.only in path:
                    print(f"{name}: {path}:{line} {text}")
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
