"""What each file may import, asserted from the imports themselves."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import langchain_sea

ROOT = Path(langchain_sea.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
SAMPLER = {"langevin.py", "relaxation.py", "errors.py", "budget.py", "tokens.py", "protocols.py"}
ENGINE = SAMPLER | {
    *(
        "terms.py",
        "energy.py",
        "work.py",
        "rounds.py",
        "_slopes.py",
        "_faults.py",
        "writing.py",
        "best.py",
        "trace.py",
    ),
    *("chains.py", "edits.py", "walk.py", "presets.py", "windows.py", "run.py", "refine.py"),
    *("searching.py", "baselines.py"),
}
NETWORKS = {
    "policy.py",
    "_reader.py",
    "_attention.py",
    "_segments.py",
    "_head.py",
    "_template.py",
    "_prompts.py",
    "_mixing.py",
    "_drafting.py",
    "_writings.py",
    "weights.py",
    "_formats.py",
    "_carriers.py",
    "_quantized.py",
    "_grammar.py",
    "_plan.py",
}
MODEL = {
    *("chat_models.py", "_messages.py", "_report.py", "_tools.py", "_engine.py", "_in_flight.py"),
    *(
        "_asks.py",
        "_calls.py",
        "_spans.py",
        "_replies.py",
        "_streams.py",
        "_events.py",
        "_logprobs.py",
        "_profile.py",
    ),
    *(
        "_model_errors.py",
        "_settings.py",
        "_tool_formats.py",
        "_structured.py",
        "_tool_scenes.py",
        "tool_guard.py",
    ),
    *("interop.py", "_interop_shapes.py", "_interop_trl.py", "_interop_evaluators.py"),
    *("_interop_runnables.py", "_interop_decisions.py"),
}
TOP = {
    *("cli.py", "middleware.py", "distributed.py", "evaluation.py", "plotting.py", "__main__.py"),
    *("api.py", "_api_bounds.py", "_api_metrics.py", "_api_replies.py", "serving.py"),
    *("_audit_command.py", "_settings_file.py", "_batch_rows.py", "_diff.py"),
    "tool_repair.py",
    *("_eval_sets.py", "_eval_figures.py", "_eval_refusals.py", "_eval_report.py", "_eval_command.py"),
}
FOLDERS = ("rewards/", "tiny/", "safety/")
EXTRAS = {
    *("ray", "langchain", "sympy", "math_verify", "matplotlib", "llguidance", "gguf"),
    *("jsonschema", "referencing", "py3langid", "peft", "fastapi", "prometheus_client", "pyarrow"),
}
EXTRA_FILES = {
    "middleware.py",
    "distributed.py",
    "plotting.py",
    "api.py",
    "_api_bounds.py",
    "_api_desk.py",
    "_api_metrics.py",
    "serving.py",
}


def layer(file):
    """Higher files may import lower ones."""
    if file in SAMPLER:
        return 0
    if file in ENGINE:
        return 1
    if file in NETWORKS or file.startswith(FOLDERS):
        return 2
    return 3 if file in MODEL else 4


def imports(tree, *, everywhere):
    """Names that the module imports: at its top level, type-checking blocks apart; or anywhere."""
    nodes, found = list(tree.body), []
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if not everywhere and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                nodes += node.orelse
            else:
                nodes += ast.iter_child_nodes(node)
    return found


@cache
def outside(file, *, everywhere=True):
    """The packages a file imports, its own and the standard library's apart."""
    tree = ast.parse(FILES[file].read_text(encoding="utf-8"))
    tops = {name.split(".")[0] for name in imports(tree, everywhere=everywhere)}
    return tops - set(sys.stdlib_module_names) - {"langchain_sea", "__future__"}


@cache
def inside(file, *, everywhere=True):
    """The files of the package that a file imports."""
    tree, found = ast.parse(FILES[file].read_text(encoding="utf-8")), set()
    for name in imports(tree, everywhere=everywhere):
        parts = name.split(".")[1:] if name.startswith("langchain_sea.") else []
        for end in (len(parts), len(parts) - 1):
            path = "/".join(parts[:end]) if end > 0 else ""
            hits = {f"{path}.py", f"{path}/__init__.py"} & set(FILES)
            if hits:
                found |= hits
                break
    return found - {file}


def test_the_engine_is_where_the_table_says():
    """All its files are there, and the four that hold the idea stay short."""
    assert set(FILES) >= ENGINE | NETWORKS
    core = ("langevin.py", "relaxation.py", "energy.py", "refine.py")
    assert sum(len(FILES[file].read_text(encoding="utf-8").splitlines()) for file in core) < 600


@pytest.mark.parametrize("file", sorted(ENGINE))
def test_the_engine_needs_torch_alone(file):
    """Nothing but the standard library, torch, and the engine's own files, not even inside a function."""
    assert outside(file) <= {"torch"}
    assert inside(file) <= ENGINE


@pytest.mark.parametrize("file", sorted(FILES))
def test_each_library_has_its_layer(file):
    """Transformers below, LangChain above, and each extra in its own file or inside a function."""
    assert "transformers" not in outside(file) or layer(file) == 2
    assert "langchain_core" not in outside(file) or layer(file) >= 3
    if file not in EXTRA_FILES:
        assert not outside(file, everywhere=False) & EXTRAS


@pytest.mark.parametrize("file", sorted(set(FILES) - {"__init__.py"}))
def test_no_file_imports_from_above(file):
    """Not even for a type, or inside a function."""
    above = {other for other in inside(file) - {"__init__.py"} if layer(other) > layer(file)}
    assert above == set()


def test_imports_have_no_cycle():
    """Types included; what a function imports when called may lead back only within its folder."""
    graph = {file: inside(file, everywhere=False) for file in FILES}
    list(TopologicalSorter(graph).static_order())


def test_init_imports_none_of_its_parts():
    """Each is fetched when it is asked for."""
    assert inside("__init__.py", everywhere=False) == set()
    assert outside("__init__.py", everywhere=False) == set()


def test_the_engine_brings_no_library_along():
    """Importing the sampler, and then the whole engine, loads neither transformers nor LangChain."""
    show = "print(*(n for n in sys.modules if '.' not in n))"
    parts = ("sys, langchain_sea.sampling.langevin", "langchain_sea.engine.refine, langchain_sea.presets")
    code = "; ".join(f"import {part}; {show}" for part in parts)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for loaded in map(set, map(str.split, done.stdout.splitlines())):
        assert "torch" in loaded
        assert not loaded & {"transformers", "langchain_core", "langchain", "ray", "matplotlib"}


def test_every_public_name_is_where_init_says():
    """The lazy names resolve, and others are refused as any module refuses them."""
    for name in ("Budget", "Energy", "Langevin", "Preset", "Relaxation", "Term", "Window"):
        assert name in langchain_sea.__all__
        assert getattr(langchain_sea, name).__module__.startswith("langchain_sea.")
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = langchain_sea.Missing
