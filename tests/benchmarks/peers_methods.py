"""The tools of `peers.py`: what each needs, its example in `peers_examples`, and one answer of it in the time it has."""

from __future__ import annotations

import inspect
import io
import random
import shutil
import statistics
import time
import tokenize
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import peers_servers
import torch
from peers_pace import Pace, Round, spend

from langchain_sea import make_energy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from langchain_sea.models.causal_lm import CausalLMPolicy

    Answerer = Callable[[str, Any], str]

EXAMPLES = Path(__file__).with_name("peers_examples")
WARM_UP = "How do I make a cup of tea?"
SIZES = (2, 8)  # samples of the two calls that measure a pace
PLAIN_SAMPLES = 8
_QUIET = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})


class Method(NamedTuple):
    """A tool.

    Attributes:
        files: of its example; the first has `make_answerer`.
        takes: `seconds` is given the time, `samples` as many samples as fit into it, `once` nothing.
        package: that must be installed.
        pip: what installs it.
    """

    files: tuple[str, ...]
    takes: Literal["seconds", "samples", "once"]
    package: str
    pip: str = ""


_ITS_HUB = ("its_hub", "pip install 'its-hub[lm]==1.2.0'")
METHODS = {
    "default": Method(("sea_default",), "seconds", "langchain-sea"),
    "transformers": Method(("transformers_generate",), "once", "transformers"),
    "trl_best_of_n": Method(("trl_best_of_n",), "samples", "trl", "pip install trl==0.24.0"),
    "its_hub_best_of_n": Method(("its_hub_best_of_n",), "samples", *_ITS_HUB),
    "its_hub_particles": Method(("its_hub_particles", "its_hub_client"), "samples", *_ITS_HUB),
    "optillm_best_of_n": Method(("optillm_best_of_n",), "once", "", "pip install optillm==0.4.0"),
}
LEAD = "default"
"""The method whose time the others get."""


@dataclass(slots=True)
class Bench:
    """What the examples are given by the names of their parameters, and the servers, which start when one needs them."""

    policy: CausalLMPolicy
    max_tokens: int
    seed: int
    optillm: str
    stack: ExitStack
    _urls: dict[str, str] = field(default_factory=dict)
    _prompts: dict[str, Any] = field(default_factory=dict)

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """The reward that ships for the policy, in its standard deviations: what every tool is given."""
        if question not in self._prompts:
            asked = [{"role": "user", "content": question}]
            self._prompts = {question: self.policy.prompt(asked, room=self.max_tokens)}
        values = make_energy(self.policy).evaluate_texts(self._prompts[question], texts).rewards[:, 0]
        return [float(value) for value in values]

    def plain_reward(self, question: str) -> float:
        """The mean reward of plain answers to a question, above which gains are reported; it is not timed."""
        ids = self.policy.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        options = {"do_sample": True, "temperature": 0.8, "top_k": 0, "max_new_tokens": self.max_tokens}
        found = self.policy.model.generate(**ids, **options, num_return_sequences=PLAIN_SAMPLES)
        answers = found[:, ids["input_ids"].shape[1] :]
        return statistics.fmean(
            self.score(question, self.policy.tokenizer.batch_decode(answers, skip_special_tokens=True))
        )

    def make(self, name: str) -> Answerer:
        """The function of a tool's example."""
        example = import_module(f"peers_examples.{METHODS[name].files[0]}")
        given = {
            parameter: self._give(parameter, example)
            for parameter in inspect.signature(example.make_answerer).parameters
        }
        return example.make_answerer(**given)  # type: ignore[no-any-return]

    def _give(self, parameter: str, example: Any) -> Any:
        if parameter == "endpoint":
            return self._endpoint()
        if parameter == "proxy":
            return self._start(
                "proxy", lambda: peers_servers.optillm_proxy(self.optillm, example.COMMAND, self._endpoint())
            )
        known = {"model": self.policy.model, "tokenizer": self.policy.tokenizer, "score": self.score}
        return known[parameter] if parameter in known else getattr(self, parameter)

    def _endpoint(self) -> str:
        def serve() -> Any:
            dtype = str(self.policy.model.dtype).removeprefix("torch.")
            return peers_servers.plain_endpoint(dtype, torch.get_num_threads())

        return self._start("endpoint", serve)

    def _start(self, name: str, server: Callable[[], Any]) -> str:
        if name not in self._urls:
            self._urls[name] = self.stack.enter_context(server())
        return self._urls[name]


class Runner:
    """One tool, warmed up."""

    def __init__(self, bench: Bench, name: str) -> None:
        """Make it, and call it once or twice on a question that is not reported.

        Raises:
            ModuleNotFoundError: it is not installed.
        """
        if reason := why_missing(name, bench.optillm):
            raise ModuleNotFoundError(reason)
        self.bench, self.name, self.method = bench, name, METHODS[name]
        self.answer = bench.make(name)
        self.pace = Pace(0.0, 1.0)
        if self.method.takes == "samples":
            self._timed(SIZES[0])  # the first call pays for set-up
            self.pace = Pace.fit(*((size, self._timed(size)) for size in SIZES))
        else:
            self._timed(1)

    def _timed(self, amount: int) -> float:
        start = time.monotonic()
        self.answer(WARM_UP, amount)
        return time.monotonic() - start

    def run(self, question: str, limit: float) -> dict[str, Any]:
        """Text, seconds and number of samples of one answer in about so many seconds."""
        random.seed(self.bench.seed)
        torch.manual_seed(self.bench.seed)
        start = time.monotonic()
        if self.method.takes == "samples":
            rounds = spend(limit, lambda count: self.answer(question, count), self.pace)
        else:
            rounds = [Round(1, self.answer(question, limit))]
        text = rounds[0].answer if len(rounds) == 1 else self._best(question, rounds)
        samples = sum(each.samples for each in rounds) if self.method.takes == "samples" else None
        return {"text": text, "seconds": time.monotonic() - start, "samples": samples, "limit": limit}

    def _best(self, question: str, rounds: Sequence[Round]) -> str:
        texts = [each.answer for each in rounds]
        return max(zip(self.bench.score(question, texts), texts, strict=True))[1]


def why_missing(name: str, optillm: str) -> str | None:
    """Why a tool cannot run here, and what would help; None if it can be tried."""
    method = METHODS[name]
    if name.startswith("optillm"):
        found = shutil.which(optillm) is not None
        advice = f"there is no program {optillm}: run `{method.pip}` in an environment of its own, and name its program with --optillm"
        return None if found else advice
    try:
        import_module(f"peers_examples.{method.files[0]}")
    except ImportError as error:
        return f"{error}: run `{method.pip}`"
    return None


def find_version(name: str) -> str | None:
    """The version of the tool's package, if it is in this environment."""
    try:
        return version(METHODS[name].package)
    except (PackageNotFoundError, ValueError):
        return None


def count_lines(source: str) -> int:
    """The lines of a program that are neither empty nor only comments or docstrings."""
    lines, is_start = set[int](), True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _QUIET or token.type == tokenize.ENDMARKER:
            is_start = is_start or token.type == tokenize.NEWLINE
        elif token.type == tokenize.STRING and is_start:
            is_start = True  # a statement that begins with a string is a docstring
        else:
            lines |= set(range(token.start[0], token.end[0] + 1))
            is_start = False
    return len(lines)


def lines_needed(name: str) -> int:
    """Of the tool's example."""
    return sum(count_lines((EXAMPLES / f"{file}.py").read_text(encoding="utf-8")) for file in METHODS[name].files)
