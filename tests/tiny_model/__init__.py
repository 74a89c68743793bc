"""The training recipe of the tiny models that ship, and a weak checkpoint for tests and benchmarks.

Run from the root of the repository: `PYTHONPATH=tests python -m tiny_model.train`, `tiny_model.report`.
"""

from pathlib import Path

EARLY_3 = Path(__file__).parent / "weights" / "early_3"
"""The checkpoint of the same run that solves about 3 % of the sums; a folder, which `load_model` reads."""
