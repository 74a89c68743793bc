"""Whole answers in the time that was asked for, on any machine: `python tests/benchmarks/any_machine.py --json FILE`.

A slower machine is this one with a wait of F − 1 times as long after every forward and every backward pass, for each F
of `--slowdown`. The wait is not slept: the clock that the engine reads is put forward, so that F = 64 takes no longer
to measure than F = 1. `--sleep` really sleeps. What is no pass (Python between passes, rewards that are functions) is
as fast as here. Every call is the first one on its machine: no speed is known from an earlier call.

The questions are harmful (AdvBench, HarmBench's validation part) and harmless (XSTest's reported half, everyday
questions) in turns; the answers are those of `refine` with the default preset and rewards, of at most `--max-tokens`.
Each question is asked with each of `--seconds`, at each slowdown; once more, without a slowdown and with
`--load-seconds`, beside as many busy processes as there are processors; and the demo is run once on
`--demo-slowdown`. Rows are kept (`--rows`), and a run that was cut off goes on from them: `--minutes 0` only computes
the figures. On Ctrl-C or SIGTERM it prints the figures of what it has.

| key | value | target |
|---|---|---|
| `complete` | share of answers that end by themselves or at the largest number of tokens | 1.0 |
| `as_plain` | share of answers with 0.1 s that are the policy's own text with that seed, sampled without the engine | 1.0 |
| `overshoot` | largest (call − draft) ÷ seconds asked, from 1 s on | 1.15 and a step |
| `gain_kept` | gain in score at slowdown 16 ÷ at 1, with the most seconds, all questions together | 0.5 |
| `harmless_cost` | median seconds of a harmless answer ÷ its draft's, with the most seconds, at the worst slowdown | 3 |
| `demo_seconds` | seconds of `langchain-sea demo` with its weights loaded | 180 |
| `complete_beside_load`, `overshoot_beside_load` | the same beside busy processes | 1.0; 1.15 and a step |

An answer ends by itself if the report says so and an end has at least one chance in ten thousand after it. For
`overshoot`, a step is the longest step of the engine in that call, the draft included; `within` is the share of calls
that end within draft + 1.15 × seconds + a step. The table of `plans` counts what was chosen. With `--plans` each
question is also answered with a plan and no limit of time: `worth` is the mean gain and the seconds of each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import public_data
import quality_callables
import torch
from any_machine_clock import SlowMachine, busy_processes
from any_machine_figures import PLAIN_SECONDS, compute_figures
from interruption import go_on_when_interrupted

from langchain_sea import Budget, load_gate, load_model, make_energy, refine
from langchain_sea.cli import main as run_command
from langchain_sea.core.protocols import LOGITS, AnswerBatch
from langchain_sea.engine.generators import generators_for
from langchain_sea.evaluation import read_rows
from langchain_sea.evaluation.cases import sample
from langchain_sea.plans import PLANS
from langchain_sea.presets import PRESETS

if TYPE_CHECKING:
    from langchain_sea.core.energy import Energy
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

Row = dict[str, Any]

SLOWDOWNS = (1.0, 4.0, 16.0, 64.0)
SECONDS = (PLAIN_SECONDS, 5.0, 10.0, 30.0)
MIN_END_SHARE = 1e-4
"""Chance of an end below which an answer has not ended by itself, whatever is reported."""


@dataclass(frozen=True)
class Call:
    """What is asked, and on which machine; a row of the results is known by it.

    Attributes:
        kind: `harmful` or `harmless`; `plain` is the policy alone, `demo` the command.
        question: the user's message.
        seconds: of refinement.
        slowdown: of the machine.
        load: whether every processor is busy beside it.
        plan: the name of the plan that is used instead of what fits into the seconds.
    """

    kind: str
    question: str
    seconds: float = 0.0
    slowdown: float = 1.0
    load: bool = False
    plan: str | None = None


def make_questions(count: int, seed: int, data: Path | None) -> list[tuple[str, str]]:
    """Return so many (kind, question), harmful and harmless ones in turns, each kind from two sets in turns."""
    folder = public_data.find_folder(data)
    pools = {
        "advbench": public_data.advbench(folder),
        "xstest": public_data.xstest_safe(folder, reported=True),
        "harmbench": public_data.harmbench(folder, "val"),
        "everyday": list(quality_callables.QUESTIONS),
    }
    drawn = [sample(pool, -(-count // len(pools)), name, seed) for name, pool in pools.items()]
    kinds = ("harmful", "harmless", "harmful", "harmless")
    turns = [(kind, question) for turn in zip(*drawn, strict=True) for kind, question in zip(kinds, turn, strict=True)]
    return turns[:count]


@dataclass
class Measurement:
    """Answers on slower machines, one row each.

    Attributes:
        policy: that answers.
        energy: of the default preset, with the policy's default rewards.
        max_tokens: of an answer.
        seed: of all answers.
        sleeps: whether waits are slept.
    """

    policy: CausalLMPolicy
    energy: Energy
    max_tokens: int
    seed: int
    sleeps: bool = False

    def measure(self, call: Call) -> Row:
        """Make one call, and return what was answered, how it ended, and how long it took."""
        machine = SlowMachine(call.slowdown, sleeps=self.sleeps)
        if call.kind == "plain":
            return {"text": self.plain_text(call.question)}
        if call.kind == "demo":
            return self.run_demo(machine)
        prompt = self._prompt(call.question)
        with machine.running():
            (found,) = refine(
                [prompt],
                energy=self.energy,
                seed=self.seed,
                search_config=replace(PRESETS["default"].search_config, plan=call.plan),
                budget=Budget(max_time=call.seconds or None),
                max_new_tokens=self.max_tokens,
            )
        assert found.before is not None
        assert found.after is not None
        row: Row = {"call": found.seconds, "draft": found.draft_seconds, "longest_step": round(machine.longest_step, 4)}
        row |= {"end": self._end(prompt, found), "tokens": len(found.ids), "text": found.text}
        row |= {"score_before": found.before.score, "score_after": found.after.score}
        return row | {"chosen": found.plan, "stop_reason": found.stop_reason, "steps": found.steps}

    def run_demo(self, machine: SlowMachine) -> Row:
        """Run the command `demo` as `make demo` does, its weights loaded."""
        with tempfile.TemporaryDirectory() as folder, machine.running(), contextlib.redirect_stdout(io.StringIO()):
            path, started = Path(folder) / "demo.json", machine.clock()
            status = run_command(["demo", "--json", str(path)])
            seconds = machine.clock() - started
            rows = json.loads(path.read_text(encoding="utf-8")) if status == 0 else []
        limits = [str(row["sea"]["cut_off_by"] or "") for row in rows]
        num_whole = sum(not limit or limit.startswith("max_tokens") for limit in limits)
        plans = [row["sea"]["plan"] for row in rows]
        return {"call": seconds, "whole_answers": num_whole, "limits": limits, "chosen": plans, "text": ""}

    def plain_text(self, question: str) -> str:
        """Return the policy's own text, sampled token by token without the engine."""
        prompt = self._prompt(question)
        writing = self.policy.start_generation(
            prompt,
            [[]],
            tokens=self.max_tokens,
            temperature=PRESETS["default"].search_config.drafts.temperature,
            generators=generators_for(self.seed, prompt.key, 1, self.policy.device),
        )
        while writing.num_unfinished:
            self.policy.generate_step([writing])
        return self.policy.decode(writing.written[0])

    def _prompt(self, question: str) -> PolicyPrompt:
        return self.policy.prompt([{"role": "user", "content": question}], room=self.max_tokens)

    @torch.no_grad()
    def _end(self, prompt: PolicyPrompt, found: Refinement) -> str:
        """Return how the answer ends: one of `WHOLE`, or `cut`."""
        ids = list(found.ids)
        if not found.is_complete:
            is_sentence = found.text.rstrip().endswith((".", "!", "?", "…", '"', ")", "”"))
            return "max_tokens" if len(ids) >= self.max_tokens else "shortened" if is_sentence else "cut"
        ends = sorted(self.policy.end_ids)
        batch = AnswerBatch.from_ids(self.policy, prompt, [[*ids, ends[0]]], LOGITS)
        share = float(batch.output.logits[0, -1].float().softmax(-1)[ends].sum())
        return "by_itself" if share >= MIN_END_SHARE else "cut"


def list_calls(options: argparse.Namespace) -> list[Call]:
    """Return all calls that the options ask for, one question after another, the demo last."""
    calls = []
    for kind, question in make_questions(options.questions, options.seed, options.data):
        calls.append(Call("plain", question))
        calls += [Call(kind, question, each, slow) for slow in options.slowdown for each in options.seconds]
        calls += [Call(kind, question, each, load=True) for each in options.load_seconds]
        calls += [Call(kind, question, plan=plan) for plan in options.plans]
    return calls + [Call("demo", "demo", 30.0, slowdown) for slowdown in options.demo_slowdown]


def measure(options: argparse.Namespace) -> list[Row]:
    """Make the calls that have no row yet, until the minutes are over; return the rows of all calls."""
    calls = list_calls(options)
    until = time.monotonic() + 60 * options.minutes
    missing = [call for call in calls if call not in read_calls(options.rows)]
    with go_on_when_interrupted():
        measurement = start(options) if missing and options.minutes else None
        for call in missing:
            if measurement is None or time.monotonic() > until:
                break
            with busy_processes() if call.load else contextlib.nullcontext():
                row = asdict(call) | measurement.measure(call)
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            sys.stderr.write(json.dumps(row | {"text": row["text"][:80]}, ensure_ascii=False) + "\n")
    wanted = set(calls)
    return [row for call, row in read_calls(options.rows).items() if call in wanted]


def read_calls(path: Path) -> dict[Call, Row]:
    """Return the rows of a file by their calls."""
    names = [each.name for each in fields(Call)]
    return {Call(**{name: row[name] for name in names}): row for row in read_rows(path)}


def start(options: argparse.Namespace) -> Measurement:
    """Load the policy and its rewards, and answer once, which pays for set-up."""
    policy = load_model(options.policy, options.device, dtype=options.dtype)
    load_gate("safety")
    measurement = Measurement(policy, make_energy(policy), options.max_tokens, options.seed, options.sleep)
    measurement.measure(Call("harmless", "Hello", 1.0))
    return measurement


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=Path, default=Path("any-machine.jsonl"))
    parser.add_argument("--questions", type=int, default=12, help="half of them harmful, half harmless")
    parser.add_argument("--slowdown", type=float, nargs="*", default=SLOWDOWNS)
    parser.add_argument("--seconds", type=float, nargs="*", default=SECONDS, help="of refinement")
    parser.add_argument("--load-seconds", type=float, nargs="*", default=[10.0], help="beside busy processes")
    parser.add_argument("--plans", nargs="*", default=[], choices=[plan.name for plan in PLANS])
    parser.add_argument("--demo-slowdown", type=float, nargs="*", default=[16.0])
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--sleep", action="store_true", help="sleep instead of putting the clock forward")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no call after so many")
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Measure what is missing, then print the figures."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    text = json.dumps(compute_figures(measure(options)), indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
