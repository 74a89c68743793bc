"""What bfloat16 changes: `python tests/benchmarks/precision.py --json FILE --seed 0`.

The same drafts of smollm2-135m, scored by the embedded safety reward and by the policy itself with weights in
float32 and in bfloat16: the rewards' correlation, the mean difference in nats per token, and the seconds of one
refined answer in both. Beside them what is measured when the model is loaded: the products' time in bfloat16
relative to float32, by the number of rows, and the precision that is chosen from it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from speed_answers import QUESTIONS, refined
from speed_shapes import Subject, subject

from langchain_sea.models.loading.precision import measure_model

if TYPE_CHECKING:
    from langchain_sea.engine.selection import Refinement

TOKENS = 64


def answered(on: Subject, question: str, seed: int, draft: list[int] | None = None) -> Refinement:
    """One refinement; of a given draft, its scores alone."""
    prompt = on.policy.prompt([{"role": "user", "content": question}], room=TOKENS)
    return refined(on, prompt, TOKENS, seed, draft, max_steps=None if draft is None else 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wide, narrow = (subject("real", None, dtype) for dtype in (torch.float32, torch.bfloat16))
    both, pairs, seconds = (wide, narrow), [], dict.fromkeys((wide, narrow), 0.0)
    for question in QUESTIONS:
        texts = set()
        for on in both:
            began = time.perf_counter()
            found = answered(on, question, options.seed)
            seconds[on] += time.perf_counter() - began
            texts |= {found.draft, found.text}
        for text in sorted(texts):
            ids = wide.policy.encode(text)
            pairs.append([answered(on, question, options.seed, ids).before for on in both])
    rewards = torch.tensor([[found.rewards["safety"] for found in pair] for pair in pairs])
    nlls = torch.tensor([[found.nll for found in pair] for pair in pairs])
    choice = measure_model(wide.policy.model)
    figures = {
        "reward_correlation": torch.corrcoef(rewards.T)[0, 1].item(),
        "nll_difference": (nlls[:, 0] - nlls[:, 1]).abs().mean().item(),
        "texts": len(pairs),
        "float32_over_bfloat16_seconds": seconds[wide] / seconds[narrow],
        "bfloat16_seconds": seconds[narrow] / len(QUESTIONS),
        "products_bfloat16_over_float32": choice.relative_times,
        "chosen": str(choice.dtype).removeprefix("torch."),
    }
    text = json.dumps(figures, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
