"""Every preset on another family of models, Gemma 3 270M (base): `python tests/benchmarks/second_family.py --questions 3`.

A base model without a chat template gets a plain one, and a plain Python function is the reward: nothing here was made
for this policy. Prints each draft and answer, and each preset's mean gain over its drafts in the function's own units.
The weights are those of `outside_reader.py`; `--policy` takes any other folder or `.gguf` file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package tiny_model

import outside_reader
import quality_callables
import torch
from comparison_figures import mean_of
from quality_callables import CALLABLES

from langchain_sea import load_model
from langchain_sea.budget import Budget
from langchain_sea.engine.refine import refine
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.presets import PRESETS
from langchain_sea.rewards import registry

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ 'Question' if message['role'] == 'user' else 'Answer' }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}Answer:{% endif %}"
)
STOP = ("\n",)  # a base model would go on with questions of its own


def answer(
    policy: CausalLMPolicy, preset: str, function: str, question: str, options: argparse.Namespace
) -> dict[str, Any]:
    """One answer of one preset, with its draft and the function's values of both."""
    settings = PRESETS[preset]
    drafts = replace(settings.search_config.drafts, temperature=0.8)
    result = refine(
        [policy.prompt([{"role": "user", "content": question}], room=options.tokens)],
        energy=registry.make_energy(policy, [CALLABLES[function]], preset=settings),
        preset=replace(settings, search_config=replace(settings.search_config, drafts=drafts)),
        seed=options.seed,
        budget=Budget(max_time=options.seconds),
        max_new_tokens=options.tokens,
        stop=STOP,
    )[0]
    before, after = CALLABLES[function](question, [result.draft, result.text])
    spent = {"seconds": result.seconds, "stop_reason": str(result.stop_reason), "plan": str(result.plan or "")}
    row = {"preset": preset, "callable": function, "question": question, "draft": result.draft, "text": result.text}
    return row | {"before": before, "after": after} | spent


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """By preset and function the mean gain over the drafts, and the share of answers that are not their drafts."""
    found: dict[str, Any] = {}
    for preset, function in dict.fromkeys((row["preset"], row["callable"]) for row in rows):
        part = [row for row in rows if (row["preset"], row["callable"]) == (preset, function)]
        changed = sum(row["text"] != row["draft"] for row in part) / len(part)
        drafts = mean_of([row["before"] for row in part])["value"]
        gain = mean_of([row["after"] - row["before"] for row in part])
        found[f"{preset}, {function}"] = {"gain": gain, "drafts": drafts, "changed": round(changed, 4)}
    return found


def main() -> None:
    """Answer, print the texts, and then the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", type=Path, help="a folder or .gguf file; by default Gemma 3 270M")
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--callables", default="cheerful,senses")
    parser.add_argument("--questions", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="of refinement for each answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load_model(options.policy or outside_reader.weights())
    policy = CausalLMPolicy(loaded.model, loaded.tokenizer, chat_template=TEMPLATE)
    rows = []
    for function in options.callables.split(","):
        for case in quality_callables.cases(function, options.questions, options.seed):
            for preset in options.presets.split(","):
                row = answer(policy, preset, function, case.question, options)
                rows.append(row)
                print(f"\n{function}, {preset}, {row['seconds']:.1f} s {row['plan']}: {case.question}")
                print(
                    f"  draft  {row['before']:.3g}: {row['draft'].strip()}\n  answer {row['after']:.3g}: {row['text'].strip()}",
                    flush=True,
                )
    found = summarize(rows)
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps({"figures": found, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
