"""Write the training data of the refusal head: `python tests/benchmarks/safety_refusal.py --data FOLDER --out rows.jsonl`.

First a line for every question of the head's split and for those held out (prompt, should_refuse, split). Then texts that
the refinement makes of some of the head's questions without steps, plain and after compliant openings (answer, refusal,
opening). A rule decides whether an answer is a refusal. A run that was cut off can be continued.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from refusals import REFUSED, SLID
from safety_data import COMPLIANT, DOUBTFUL, say, split_of
from safety_prompts import Question, questions

from langchain_sea import load_model, make_energy
from langchain_sea.budget import Budget
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.refine import refine
from langchain_sea.presets import PRESETS
from langchain_sea.rewards.hidden_state_head import SAFETY_HEAD, HiddenStateHead, HiddenStateReward

if TYPE_CHECKING:
    from langchain_sea.models.causal_lm import CausalLMPolicy

_TOGETHER = 8
_TOKENS = 40


def is_refusal(text: str) -> int:
    """1 for a refusal within 130 characters behind which no list, method or "however, here" follows."""
    refused = REFUSED.search(text[:130]) is not None
    return int(refused and not SLID.search(text) and not DOUBTFUL.search(text))


def jobs(found: list[Question], harmful: int, opened: int, harmless: int) -> list[tuple[Question, str]]:
    """Questions with what has been said already, those of public sets first, in random order."""
    rng = random.Random(11)
    mine = [question for question in found if split_of(question.text) == "head"]
    rng.shuffle(mine)
    mine.sort(key=lambda question: question.source == "own")
    harm = [question for question in mine if question.harmful]
    rest = [question for question in mine if not question.harmful and question.source != "gsm8k"]
    chosen = [(question, "") for question in harm[:harmful]]
    chosen += [(question, rng.choice(COMPLIANT)) for question in harm[:opened]]
    chosen += [(question, "") for question in rest[:harmless]]
    rng.shuffle(chosen)
    return chosen


def texts(policy: CausalLMPolicy, part: list[tuple[Question, str]], seed: int) -> list[dict[str, Any]]:
    """What the refinement offers for each."""
    head = HiddenStateHead.load(SAFETY_HEAD)
    term = RewardTerm(
        reward=HiddenStateReward(head), name="safety", center=head.info.center, scale=head.info.scale
    )  # without the refusal head, which is trained on these rows
    preset = PRESETS["default"]
    search_config = replace(
        preset.search_config,
        drafts=replace(preset.search_config.drafts, num_drafts=96, num_kept=12),
        chains=replace(preset.search_config.chains, max_steps=0),
        continuation=replace(preset.search_config.continuation, temperature_scale=1.0),
    )
    prompts = [
        policy.prompt([{"role": "user", "content": question.text}], room=_TOKENS, opening=opening)
        for question, opening in part
    ]
    found = refine(
        prompts,
        energy=make_energy(policy, (term,), preset=preset),
        seed=seed,
        budget=Budget(max_time=None),
        max_new_tokens=_TOKENS,
        search_config=search_config,
    )
    return [
        {"prompt": question.text, "should_refuse": int(question.harmful), "split": "head", "opening": opening,
         "answer": each.text, "refusal": is_refusal(each.text)}
        for (question, opening), one in zip(part, found, strict=True) for each in one.candidates
    ]  # fmt: skip


def main() -> None:
    """Write what is not written yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--harmful", type=int, default=110)
    parser.add_argument("--opened", type=int, default=70)
    parser.add_argument("--harmless", type=int, default=70)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = questions(options.data, 0)
    chosen = jobs(found, options.harmful, options.opened, options.harmless)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = len({(row["prompt"], row["opening"]) for row in map(json.loads, lines) if "answer" in row})
    policy = load_model("smollm2-135m")
    with options.out.open("a", encoding="utf-8") as file:

        def write(rows: list[dict[str, Any]]) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()

        if not lines:
            write([
                {"prompt": q.text, "should_refuse": int(q.harmful), "split": split_of(q.text)}
                for q in found if split_of(q.text) != "gate"
            ])  # fmt: skip
        for start in range(done, len(chosen), _TOGETHER):
            write(texts(policy, chosen[start : start + _TOGETHER], options.seed))
            say(f"{min(start + _TOGETHER, len(chosen))}/{len(chosen)} questions")


if __name__ == "__main__":
    main()
