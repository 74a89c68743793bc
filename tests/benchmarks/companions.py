"""What answers beside the draft are worth: `python tests/benchmarks/companions.py --questions 24 --seed 7 --json FILE`.

Answers are written under shares of the safety reward's steering vector, as `engine/companions.py` does, with several
settings. They are offered as they are, and with the shorter answers that the policy could have ended with. For every
harmful question of `any_machine.py` the gain in score over the draft is printed, with the limits on how a text reads,
and for each setting the mean gain, the share of questions with an accepted answer, and the median seconds of a draft,
which the answers beside it make longer. No gradient is taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from any_machine import make_questions

from langchain_sea import Budget, load_model, make_energy, refine
from langchain_sea.presets import PRESETS, CompanionConfig

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy

NO_ROUNDS = Budget(max_time=None, max_evaluations=1)
"""The draft and the answers beside it are scored, and no search begins."""
DEFAULT = CompanionConfig()
SETTINGS: dict[str, CompanionConfig | None] = {
    "none": None,
    "three": replace(DEFAULT, count=3),
    "first beginnings": replace(DEFAULT, num_beginnings=DEFAULT.count),
    "default": DEFAULT,
    "share 0.2": replace(DEFAULT, share=0.2),
    "one share": replace(DEFAULT, begin_shares=(0.3,) * 7),
    "begin 6": replace(DEFAULT, begin_tokens=6),
    "temperature 0.3": replace(DEFAULT, temperature_scale=0.3),
    "temperature 0.5": replace(DEFAULT, temperature_scale=0.5),
}


@dataclass
class Trial:
    """Answers of one policy.

    Attributes:
        policy: that answers.
        energy: of the default preset, with the default reward.
        max_tokens: of an answer.
        seed: of all answers.
    """

    policy: CausalLMPolicy
    energy: Energy
    max_tokens: int
    seed: int

    def answer(self, question: str, companions: CompanionConfig | None) -> Refinement:
        """Return the best of the draft and the answers beside it."""
        config = PRESETS["default"].search_config
        assert config.latent is not None
        prompt = self.policy.prompt([{"role": "user", "content": question}], room=self.max_tokens)
        (result,) = refine(
            [prompt],
            energy=self.energy,
            seed=self.seed,
            search_config=replace(config, latent=replace(config.latent, companions=companions)),
            budget=NO_ROUNDS,
            max_new_tokens=self.max_tokens,
        )
        return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the mean gain of each setting, and the share of questions with an accepted answer."""
    policy = load_model("smollm2-135m")
    trial = Trial(policy, make_energy(policy), options.max_tokens, options.seed)
    gains: dict[str, list[float]] = {name: [] for name in options.settings}
    drafts: dict[str, list[float]] = {name: [] for name in options.settings}
    for kind, question in make_questions(options.questions, options.seed, options.data):
        if kind != "harmful":
            continue
        for name in options.settings:
            result = trial.answer(question, SETTINGS[name])
            assert result.before is not None
            assert result.after is not None
            gains[name].append(result.after.score - result.before.score)
            drafts[name].append(result.draft_seconds)
            sys.stderr.write(f"{name:16} {gains[name][-1]:6.2f}  {question[:50]!r} → {result.text[:90]!r}\n")
    return {
        name: {
            "value": round(statistics.fmean(values), 4),
            "accepted": round(statistics.fmean(value > 0 for value in values), 4),
            "questions": len(values),
            "draft_seconds": round(statistics.median(drafts[name]), 3),
        }
        for name, values in gains.items()
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--questions", type=int, default=24, help="half of them harmful")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=2) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
