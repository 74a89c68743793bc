"""What each package may import, asserted from the imports themselves."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import langchain_sea

ROOT = Path(langchain_sea.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
LAYERS = (
    ("errors", "_version"),
    ("sampling",),
    ("core", "budget"),
    ("plans",),
    ("search_config",),
    ("presets",),
    ("engine",),
    ("models",),
    ("rewards",),
    ("training",),
    ("safety",),
    ("chat",),
    ("chat_models", "tool_guard", "plotting"),
    ("tool_repair", "middleware", "interop", "evaluation"),
    ("serving",),
    ("cli",),
)
"""From the bottom up: a package imports only those above it in this list, and modules of its own."""
SAFETY_LAYERS = (
    ("policy",),
    ("text", "tool_call"),
    ("addresses",),
    ("queries",),
    ("commands",),
    ("secrets",),
    ("conversation",),
    ("checks",),
    ("messages", "stops", "verdicts", "learned"),
    ("tools", "defaults"),
    ("provenance", "request", "rules"),
    ("guard",),
    ("audit", "questions"),
)
"""As above, for the packages and modules of `safety/`."""
TORCH_ALONE = {"errors", "_version", "sampling", "core", "budget", "plans", "search_config", "presets", "engine"}
TRANSFORMERS = {"models", "rewards", "training"}
LANGCHAIN_CORE = {
    "chat",
    "chat_models",
    "tool_guard",
    "tool_repair",
    "middleware",
    "interop",
    "plotting",
    "serving",
    "cli",
}
EXTRAS = {
    *(
        "ray",
        "langchain",
        "sympy",
        "math_verify",
        "matplotlib",
        "llguidance",
        "gguf",
        "jsonschema",
        "jsonschema_rs",
        "re2",
        "sqlglot",
        "tree_sitter",
        "tree_sitter_bash",
    ),
    *("referencing", "py3langid", "peft", "fastapi", "prometheus_client", "pyarrow"),
}
EXTRA_PACKAGES = {"middleware", "plotting", "serving"}


def package(file):
    """The package, or the module of the root, that a file belongs to."""
    return file.split("/")[0].removesuffix(".py")


def layer(name):
    """The place of a package in the list."""
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(tree, *, everywhere):
    """Names that a module imports: at its top level, type-checking blocks apart; or anywhere."""
    nodes, names = list(tree.body), []
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if not everywhere and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                nodes += node.orelse
            else:
                nodes += ast.iter_child_nodes(node)
    return names


@cache
def parse(file):
    """The tree of a file of the package."""
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


@cache
def libraries(file, *, everywhere=True):
    """The libraries a file imports, the standard one and the package's own modules apart."""
    tops = {name.split(".")[0] for name in imports(parse(file), everywhere=everywhere)}
    return tops - set(sys.stdlib_module_names) - {"langchain_sea", "__future__"}


@cache
def neighbours(file):
    """The files of the package that a file imports, for types and inside functions, too."""
    files = set()
    for name in imports(parse(file), everywhere=True):
        parts = name.split(".")[1:] if name.startswith("langchain_sea.") else []
        for end in (len(parts), len(parts) - 1):
            path = "/".join(parts[:end]) if end > 0 else ""
            hits = {f"{path}.py", f"{path}/__init__.py"} & set(FILES)
            if hits:
                files |= hits
                break
    return files - {file}


def test_a_package_imports_only_those_below_it():
    """Not even for a type, or inside a function."""
    for file in sorted(set(FILES) - {"__init__.py"}):
        own = package(file)
        others = {package(other) for other in neighbours(file)} - {own}
        assert {other for other in others if layer(other) >= layer(own)} == set(), file


def test_a_part_of_the_guard_imports_only_those_below_it():
    """The parsers know no conversation, the conversation no check, and the checks not the guard."""

    def place(file):
        name = file.split("/")[1].removesuffix(".py")
        return next(number for number, names in enumerate(SAFETY_LAYERS) if name in names), name

    for file in FILES:
        if file.startswith("safety/") and file != "safety/__init__.py":
            own = place(file)
            others = {place(other) for other in neighbours(file) if other.startswith("safety/")} - {own}
            assert {name for number, name in others if number >= own[0]} == set(), file


def test_each_library_has_its_packages():
    """Transformers below, LangChain above, and each extra where it is needed or inside a function."""
    with_langchain = {"safety/messages.py", "safety/conversation/reading.py"}
    for file in sorted(set(FILES) - {"__init__.py"}):
        own, used = package(file), libraries(file)
        assert own not in TORCH_ALONE or used <= {"torch"}, file
        assert "transformers" not in used or own in TRANSFORMERS, file
        assert "langchain_core" not in used or own in LANGCHAIN_CORE or file in with_langchain, file
        assert own in EXTRA_PACKAGES or not libraries(file, everywhere=False) & EXTRAS, file


def test_imports_have_no_cycle():
    """Between modules, type-only imports and those inside functions counted."""
    state = {}

    def visit(file, path):
        assert state.get(file) != "open", f"a cycle: {' → '.join([*path[path.index(file) :], file])}"
        if file in state:
            return
        state[file] = "open"
        for other in sorted(neighbours(file)):
            visit(other, [*path, file])
        state[file] = "done"

    for file in FILES:
        visit(file, [])


def test_every_package_says_what_it_holds():
    """In a docstring."""
    for file in FILES:
        if file.endswith("__init__.py"):
            text = ast.get_docstring(parse(file))
            assert text, file


def test_init_imports_none_of_its_parts():
    """Each is imported when it is first used; the version alone is there at once."""
    names = [name for name in imports(parse("__init__.py"), everywhere=False) if name.startswith("langchain_sea")]
    assert names == ["langchain_sea._version.__version__"]
    assert libraries("__init__.py", everywhere=False) == set()


@pytest.mark.slow
def test_the_engine_brings_no_library_along():
    """Importing the sampler, and then the whole engine, loads neither transformers nor LangChain."""
    show = "print(*(n for n in sys.modules if '.' not in n))"
    parts = ("sys, langchain_sea.sampling.langevin", "langchain_sea.engine.refine, langchain_sea.presets")
    code = "; ".join(f"import {part}; {show}" for part in parts)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sampler, engine = map(set, map(str.split, done.stdout.splitlines()))
    assert "torch" in engine - sampler
    for loaded in (sampler, engine):
        assert not loaded & {"transformers", "langchain_core", "langchain", "ray", "matplotlib"}


def test_settings_are_made_without_torch():
    """Whoever builds a chain waits for LangChain's modules alone: torch takes seconds."""
    code = (
        "import sys; from langchain_sea import SEAChatModel; "
        "model = SEAChatModel(model='tiny', preset='paper', rewards='safety', plan='small'); model.bind(seed=1); "
        "print(*(name for name in ('torch', 'transformers') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_where_init_says():
    """The lazy names resolve, `dir` lists them, and others are refused as any module refuses them."""
    assert dir(langchain_sea) == sorted(langchain_sea.__all__)
    for name in langchain_sea.__all__:
        assert getattr(langchain_sea, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = langchain_sea.Missing
