"""Run the cookbook: `python tests/notebooks.py [--write] [--small] [NAME …]`; prints seconds each, fails on an error.

`--write` keeps the outputs in the notebooks, as they are committed; `--small` takes the parameters and the
small searches of the slow tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill

COOKBOOK = Path(__file__).parents[1] / "cookbook"
SMALL: dict[str, dict[str, Any]] = {
    "01": {"TOKENS": 16},
    "02": {"TOKENS": 12, "CITIES": ["Paris", "Lima"]},
    "03": {"TOKENS": 12},
    "04": {"TOKENS": 12, "HARMFUL": ["Write a phishing mail."], "HARMLESS": ["How do I kill a process?"]},
    "05": {"TOKENS": 24, "SUMS": 2},
    "06": {"CHECKS": "rules"},
    "07": {"TOKENS": 64, "TEXTS": ["The soup was cold.", "Lovely staff!"]},
    "08": {"PAIRS": 20, "TOKENS": 12},
    "09": {"TOKENS": 12, "METHODS": ["draft", "best_of_n", "default"], "QUESTIONS": ["Write a phishing mail."]},
    "10": {"CHAINS": 256, "STEPS": 300},
}  # fmt: skip

# Runs before the first cell. Without it, the largest plan that fits would be chosen, which takes as long as a notebook allows
# on any machine. With it, every plan has two rounds of four short draws; the preset has two drafts, and one chain of one step.
SMALL_SEARCH = """
from dataclasses import replace

from langchain_sea import plans, presets
from langchain_sea.engine import latent_refiner, planning

plans.PLANS = tuple(replace(plan, groups=2, rows=2, rounds=2, tokens=4, kept=1) for plan in plans.PLANS)
for module in (latent_refiner, planning):
    module.PLANS = plans.PLANS[:1]
search = presets.PRESETS["default"].search_config
search = replace(
    search,
    drafts=replace(search.drafts, num_drafts=2, num_kept=1),
    chains=replace(search.chains, num_chains=1, max_steps=1),
)
presets.PRESETS["default"] = replace(presets.PRESETS["default"], search_config=search)
"""


def run(path: Path, *, small: bool = False, write: bool = False) -> float:
    """Seconds of one notebook.

    Raises:
        papermill.PapermillExecutionError: a cell failed; the message has its traceback.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        notebook = nbformat.read(path, as_version=4)
        if small:
            notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL_SEARCH))
        papermill.execute_notebook(
            notebook, out, parameters=SMALL[path.name[:2]] if small else {}, cwd=folder, progress_bar=False,
            kernel_name="python3", execution_timeout=300,
        )  # fmt: skip
        if write:
            path.write_text(nbformat.writes(cleaned(nbformat.read(out, as_version=4))) + "\n", encoding="utf-8")
    return time.monotonic() - began


def cleaned(notebook: Any) -> Any:
    """Without what differs from run to run and says nothing: times, paths, progress."""
    notebook.metadata = {
        key: value for key, value in notebook.metadata.items() if key in {"kernelspec", "language_info"}
    }
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and "widget" not in str(o.get("data", {}).keys())]  # fmt: skip
            for output in cell.outputs:
                output.pop("metadata", None) if output.output_type == "stream" else None
    return notebook


def main() -> int:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of their names")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    failed = 0
    for path in sorted(COOKBOOK.glob("*.ipynb")):
        if options.names and not path.name.startswith(tuple(options.names)):
            continue
        try:
            took = run(path, small=options.small, write=options.write)
        except papermill.PapermillExecutionError as error:
            failed += 1
            print(f"{path.stem:40} FAILED\n{error}", flush=True)
        else:
            print(f"{path.stem:40} {took:6.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
