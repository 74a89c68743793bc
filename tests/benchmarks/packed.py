"""How much packed weights save on a CPU: `python tests/benchmarks/packed.py --json FILE`.

`smollm2-135m` continues a prompt with its likeliest tokens, as 1, 4 and 16 answers, with weights as they are and with
packed ones, in turns. Each ratio is of two times of one run: a token with packed weights ÷ one without. `--dtype` is the
precision; without it, the faster one of this machine. `equal_tokens` is the share of tokens that both write alike: float32
is summed in another order when it is packed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from langchain_sea import load_model
from langchain_sea.models import packed_linear
from langchain_sea.models.causal_lm import CausalLMPolicy

ROWS, TOKENS = (1, 4, 16), 24
QUESTION = "Tell me a long story about a lighthouse keeper and a storm."


def load(dtype: str | None, *, packs: bool) -> CausalLMPolicy:
    """A policy of its own, prepared with or without packed weights; `load_model` returns one object to all callers."""
    loaded = load_model("smollm2-135m", dtype=dtype)
    policy = CausalLMPolicy(loaded.model, loaded.tokenizer)
    if packs:
        write(policy, 1)
        return policy
    with mock.patch.object(packed_linear, "_can_pack", return_value=False):
        write(policy, 1)
    return policy


def write(policy: CausalLMPolicy, rows: int) -> tuple[float, list[list[int]]]:
    """Return the seconds of `TOKENS` tokens in each row, the prompt not counted, and the tokens."""
    prompt = policy.prompt([{"role": "user", "content": QUESTION}], room=TOKENS)
    generators = [torch.Generator().manual_seed(row) for row in range(rows)]
    assert prompt.key_values
    started = time.perf_counter()
    ids = policy.generate(prompt, [[]] * rows, tokens=TOKENS, temperature=0.0, generators=generators)
    return time.perf_counter() - started, ids


def main() -> None:
    """Time both in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    plain, packed = load(options.dtype, packs=False), load(options.dtype, packs=True)
    figures: dict[str, Any] = {"dtype": str(plain.model.dtype).removeprefix("torch.")}
    equal: list[bool] = []
    for rows in ROWS:
        pairs = [(write(packed, rows), write(plain, rows)) for _ in range(options.repeats)]
        ours, theirs = pairs[0][0][1], pairs[0][1][1]
        equal += [a == b for one, two in zip(ours, theirs, strict=True) for a, b in zip(one, two, strict=False)]
        ratios = [packed_time / plain_time for (packed_time, _), (plain_time, _) in pairs]
        spread = [round(min(ratios), 3), round(max(ratios), 3)]
        figures[f"packed_over_plain_{rows}"] = {"value": round(statistics.median(ratios), 3), "spread": spread}
    figures["equal_tokens"] = round(statistics.fmean(equal), 3)
    text = json.dumps(figures, indent=2) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
