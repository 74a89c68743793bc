"""What users may rely on, as a snapshot: a change of it is seen in a diff, and belongs into the changelog.

After a change that is meant: `python tests/unit_tests/test_api.py > tests/unit_tests/api.txt`.
"""

import dataclasses
import inspect
import sys
from importlib import import_module
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("api.txt")
MODULES = (
    *("", ".budget", ".plans", ".presets", ".errors", ".chat_models"),
    *(".core.protocols", ".core.energy", ".core.limits", ".core.terms", ".core.trace"),
    *(".sampling.langevin", ".sampling.latent", ".sampling.relaxation", ".models.loading"),
    *(".engine.refine", ".engine.selection", ".engine.baselines"),
    *(".rewards", ".interop", ".evaluation", ".plotting"),
    *(".middleware", ".tool_guard", ".tool_repair", ".safety"),
)


def lines():
    """One for each public name: what it is called with, or what it holds."""
    for suffix in MODULES:
        module = import_module(f"langchain_sea{suffix}")
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        for name in sorted(getattr(module, "__all__", [n for n in own if not n.startswith("_")])):
            yield f"{module.__name__}.{name}{shape(getattr(module, name))}"


def shape(value):
    """Parameters by name, with a sign for those that have a default; fields of models and dataclasses."""
    if hasattr(value, "model_fields"):  # ours, not those that core adds from one release to the next
        ours = [kind for kind in value.__mro__ if kind.__module__.startswith("langchain_sea")]
        names = sorted(name for kind in ours for name in vars(kind).get("__annotations__", {}))
        return f"({', '.join(name for name in names if not name.startswith('_'))})"
    if dataclasses.is_dataclass(value):
        return f"({', '.join(field.name for field in dataclasses.fields(value))})"
    if inspect.isclass(value) and issubclass(value, tuple) and hasattr(value, "_fields"):
        return f"({', '.join(value._fields)})"
    if not callable(value):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "()"
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return f"({', '.join(marks.get(p.kind, '') + p.name + ('=' if p.default is not p.empty else '') for p in parameters)})"  # fmt: skip


def test_the_public_api_is_the_snapshot():
    """Names, parameters and fields."""
    assert list(lines()) == SNAPSHOT.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in lines()))
