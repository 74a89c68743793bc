"""Picks the tiers among one run's snapshots by measured success, and writes what ships; knows no training."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from langchain_sea import weights
from langchain_sea.models import tiny
from tiny_model import EARLY_3, data
from tiny_model.sample import LONGEST, sample, success

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TARGETS = {"early_30": 0.3, "early_3": 0.03, "early_03": 0.003}
COARSE = 300
FINE = 4000
CANDIDATES = 4


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, kind: str, count: int) -> float:
    """The model's success on held-out problems that no report uses."""
    problems = data.held_out(kind, count, "while training")
    return success(problems, sample(model, tokenizer, problems, seed=0, longest=LONGEST[kind]))


def write(model: PreTrainedModel, path: Path) -> None:
    """Write the weights in half precision; the tied head is left out."""
    state = {name: value.half().cpu() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file({name: value.contiguous() for name, value in state.items()}, path)


def ship(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, run: Path, folder: Path, weak: Path) -> None:
    """Write tokenizer, configuration, expert and early tiers to `folder`, and early_3 to `weak`, a folder of its own."""
    for each in (folder, weak):
        each.mkdir(parents=True, exist_ok=True)
        model.config.save_pretrained(each)
        save_tokenizer(tokenizer, each)
    chosen = choose(model, tokenizer, sorted(run.glob("step-*.safetensors")))
    for tier, path in (chosen | {"expert": run / "expert.safetensors"}).items():
        file = weak / "model.safetensors" if tier == EARLY_3.name else folder / f"{tier}.safetensors"
        file.write_bytes(path.read_bytes())


def load_tier(tier: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a tier that ships, or the weak one beside this file, in float32."""
    if tier != EARLY_3.name:
        return tiny.load(tier)
    loaded = weights.load(EARLY_3, dtype=torch.float32, device="cpu")
    return loaded.model, loaded.tokenizer


def choose(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, paths: list[Path]) -> dict[str, Path]:
    """The snapshot nearest to each target: a coarse look at all, then a fine one at the nearest few."""
    coarse = {path: _measure_file(model, tokenizer, path, COARSE) for path in paths}
    chosen = {}
    for tier, target in TARGETS.items():
        # Of equals the later one: it keeps to the form of an answer, and errs in the sums.
        latest = paths[::-1]
        near = sorted(latest, key=lambda path: abs(coarse[path] - target))[:CANDIDATES]
        fine = {path: _measure_file(model, tokenizer, path, FINE) for path in near}
        chosen[tier] = min(near, key=lambda path: abs(fine[path] - target))
        say(f"{tier}: " + ", ".join(f"{path.stem} {share:.4f}" for path, share in fine.items()))
    return chosen


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save with the class name that every supported transformers knows."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=2) + "\n")


def say(line: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _measure_file(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path, count: int) -> float:
    model.load_state_dict(load_file(path), strict=False)
    return measure(model, tokenizer, "arithmetic", count)
