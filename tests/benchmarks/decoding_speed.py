"""How fast tokens are written, ours beside llama.cpp: `python tests/benchmarks/decoding_speed.py --json FILE`.

Both continue the same prompt with their likeliest tokens on a CPU, as 1 answer and as 16 at once, in turns: this
package with the weights of `smollm2-135m` in the precision that `load_model` takes by default, llama.cpp with the
same GGUF file as it is, in 4 bits. Reading the prompt is not timed. llama.cpp runs in a process of its own, with
the interpreter of `--llama-python` if llama-cpp-python is installed in another environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from decoding_llama_cpp import MISSING
from speed_clock import Plan, note, nothing, ratio

from langchain_sea import load_model
from langchain_sea.models.loading.weight_packages import WEIGHT_PACKAGES

if TYPE_CHECKING:
    from langchain_sea.models.causal_lm import CausalLMPolicy

MODEL = "smollm2-135m"
ROWS, TOKENS = (1, 16), 48
QUESTION = "Tell me a long story about a lighthouse keeper and a storm."
ADVICE = (
    "llama.cpp is not measured: {reason}. Run `pip install llama-cpp-python`, which compiles it for some minutes, or "
    "name an interpreter that has it with --llama-python."
)


class Ours:
    """Answers of this package."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        """The prompt is read by the first call."""
        self.policy = policy
        self.prompt = policy.prompt([{"role": "user", "content": QUESTION}], room=TOKENS)

    def write(self, rows: int) -> None:
        """Write `TOKENS` tokens into each row."""
        generators = [torch.Generator().manual_seed(row) for row in range(rows)]
        found = self.policy.generate(self.prompt, [[]] * rows, tokens=TOKENS, temperature=0.0, generators=generators)
        assert all(len(ids) == TOKENS for ids in found), "an answer ended before its time"


class LlamaCpp:
    """The same of llama.cpp, in a process of its own: a line with the number of rows goes in, one comes back."""

    def __init__(self, python: str, file: Path, ids: list[int], threads: int) -> None:
        """Start it.

        Raises:
            RuntimeError: llama-cpp-python is missing there, or cannot read the file.
        """
        script = Path(__file__).with_name("decoding_llama_cpp.py")
        command = [python, str(script), str(file), json.dumps(ids), str(threads), str(TOKENS), str(max(ROWS))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            status = self.process.wait()
            reason = "it is not installed" if status == MISSING else f"its process ended with {status}"
            raise RuntimeError(reason)

    def write(self, rows: int) -> None:
        """Write `TOKENS` tokens into each row."""
        pipe = self.process.stdin
        assert pipe
        pipe.write(f"{rows}\n")
        pipe.flush()
        assert self._line() == "done", "llama.cpp failed; its error stands above"

    def _line(self) -> str:
        pipe: IO[str] | None = self.process.stdout
        assert pipe
        return pipe.readline().strip()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def started(options: argparse.Namespace, ids: list[int]) -> LlamaCpp | str:
    """llama.cpp, or why there is none."""
    file = options.gguf or WEIGHT_PACKAGES[MODEL].find()
    if file is None:
        return f"there is no GGUF file of {MODEL}: {WEIGHT_PACKAGES[MODEL].advice}"
    try:
        return LlamaCpp(options.llama_python, file, ids, torch.get_num_threads())
    except (OSError, RuntimeError) as error:
        return ADVICE.format(reason=error)


def compared(ours: Ours, llama: LlamaCpp | str, rows: int, plan: Plan) -> dict[str, Any]:
    """Tokens per second of both, and their ratio."""
    works = {"ours": lambda: ours.write(rows)}
    if isinstance(llama, LlamaCpp):
        works["llama.cpp"] = lambda: llama.write(rows)
    times = plan.turns(works)
    what = (
        f"tokens per second of ours ÷ of llama.cpp, which reads the same GGUF in 4 bits; {MODEL}, {rows} answers at "
        f"once, {TOKENS} tokens each, {torch.get_num_threads()} threads"
    )
    if isinstance(llama, LlamaCpp):
        figure = ratio(times, "llama.cpp", "ours", what)  # of seconds, so of tokens per second the other way round
    else:
        middle = sorted(times["ours"])[plan.repeats // 2]
        figure = nothing(what, llama) | {"seconds": {"ours": round(middle, 4)}}
    figure["tokens_per_second"] = {
        name: round(rows * TOKENS / seconds, 1) for name, seconds in figure["seconds"].items()
    }
    return figure


def main() -> None:
    """Measure and print."""
    options = arguments()
    policy = load_model(MODEL, "cpu", **({"dtype": options.dtype} if options.dtype else {}))
    if options.threads:
        torch.set_num_threads(options.threads)
    ours = Ours(policy)
    llama = started(options, list(ours.prompt.ids))
    if isinstance(llama, str):
        note(llama)
    plan = Plan(options.repeats, torch.device("cpu"))
    figures = {f"ours_over_llama_cpp_{rows}_rows": compared(ours, llama, rows, plan) for rows in ROWS}
    if isinstance(llama, LlamaCpp):
        llama.close()
    about = {
        "dtype": str(policy.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    text = json.dumps(figures | about, indent=2, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="the one that is measured to be faster")
    parser.add_argument("--gguf", type=Path, help="the file that llama.cpp reads; by default the installed one")
    parser.add_argument("--llama-python", default=sys.executable, help="an interpreter that has llama-cpp-python")
    parser.add_argument("--threads", type=int, help="of both; as many as torch takes by itself")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
