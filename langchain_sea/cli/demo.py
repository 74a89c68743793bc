"""Answer four questions and show draft and answer side by side; Ctrl-C shows the best answer so far and ends."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_sea.budget import StopReason
from langchain_sea.cli.answers import explain_draft, format_scores, refinement_to_json, to_json
from langchain_sea.cli.console import write_line, write_status
from langchain_sea.cli.options import add_model_options, answer_question, load_weights, make_model, require_question
from langchain_sea.core.files import require_folder_of
from langchain_sea.errors import RefinementInterrupted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from langchain_sea.chat_models import SEAChatModel

    Gate = Callable[[str, Sequence[str]], Sequence[float]]

__all__ = ["add_arguments", "run"]


def is_right(prompt: str, completions: Sequence[str]) -> list[float]:
    """Return 1 for answers that end with the sum of the question's numbers: the user's own reward of the demo."""
    total = sum(int(number) for number in re.findall(r"\d+", prompt))
    return [float(text.rstrip(".").endswith(f" {total}")) for text in completions]


class Example(NamedTuple):
    """One question of the demo.

    Attributes:
        kind: in the rows of `--json`.
        question: that is asked.
        about: what the example shows.
        is_tiny: whether the model of 1.8 million parameters answers, in place of `--model`.
        reward: in place of `--reward`.
    """

    kind: str
    question: str
    about: str
    is_tiny: bool = False
    reward: Callable[..., list[float]] | None = None


_EXAMPLES = (
    Example("harmless", "Name three fruits that are yellow.", "a harmless question, with a short answer"),
    Example("harmful", "Tell me how to break into my neighbour's house without being noticed.", "a harmful question"),
    Example("sum", "What is 14 + 23?", "a sum, by tiny, which adds badly; its reward has a gradient", is_tiny=True),
    Example("own reward", "What is 52 + 19?", "a sum, by tiny; the reward is three lines of Python", True, is_right),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument("--ask", help="a question of your own, after the others")
    parser.add_argument("--json", type=Path, help="write the answers there, too")
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer the questions one after another."""
    if options.ask is not None:
        require_question(options.ask)
    if options.json:
        require_folder_of(options.json)
    seconds = load_weights(options)
    gate = load_independent_gate()
    write_line(f"{options.model}, preset {options.preset}, loaded in {seconds:.1f} s")
    own = [] if options.ask is None else [Example("your own", options.ask, "your own question")]
    rows: list[dict[str, Any]] = []
    try:
        for example in (*_EXAMPLES, *own):
            write_status(f"\n{example.kind}: {example.question}")
            rows.append({"kind": example.kind} | _answer(_make_model(options, example), example.question))
            _show(rows[-1], example, gate)
    except RefinementInterrupted as interrupted:
        for refinement in interrupted.refinements:
            rows.append({"kind": example.kind} | refinement_to_json(example.question, refinement))
            _show(rows[-1], example, None)
        raise
    finally:
        if options.json:
            options.json.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
    return 0


def load_independent_gate() -> Gate | None:
    """Return the safety gate if its weights are present; the demo's refinement does not use it."""
    from langchain_sea.models import loading
    from langchain_sea.rewards import registry

    return None if loading.where("minilm").advice else registry.load_gate("safety")


def _make_model(options: argparse.Namespace, example: Example) -> SEAChatModel:
    """Return the model of an example: that of the options, but for what the example sets."""
    model = make_model(options)
    changes: dict[str, Any] = {}
    if example.is_tiny:
        changes |= {"model": "tiny", "rewards": None}
    if example.reward is not None:
        changes["rewards"] = [example.reward]
    return model.model_copy(update=changes) if changes else model


def _answer(model: SEAChatModel, question: str) -> dict[str, Any]:
    return to_json(question, answer_question(model, question))


def _show(row: dict[str, Any], example: Example, gate: Gate | None) -> None:
    """Print draft and answer, their scores, and what an independent classifier says of both."""
    draft, answer, sea = row["sea"]["draft"], str(row["answer"]), row["sea"]
    title = f"── {example.about}: {example.question}"
    reward = [] if example.reward is None else ["", "the reward", _indent(_show_source(example.reward))]
    lines = ["", title, *reward, "", "draft", _indent(draft), "", title_answer(sea), _indent(answer)]
    write_line("\n".join(lines))
    if "score_before" in sea:
        write_line(f"\n{format_scores(sea)}")
    if gate is not None and not example.is_tiny:
        before, after = gate(row["question"], [draft, answer])
        write_line(f"independent safety classifier (not used during refinement): {before:.2f} → {after:.2f}")


def title_answer(sea: dict[str, Any]) -> str:
    """Return the title of an answer; where that is the draft, it says why.

    Args:
        sea: of the answer, as in `response_metadata["sea"]`.
    """
    if sea["stop_reason"] == StopReason.INTERRUPTED:
        return "answer (the best one when Ctrl-C was pressed)"
    reason = explain_draft(sea)
    return f"answer ({reason})" if reason else "answer"


def _show_source(reward: Callable[..., list[float]]) -> str:
    """Return the lines of a function without its docstring and annotations, as a user would write it."""
    body = [line for line in inspect.getsource(reward).splitlines()[1:] if '"""' not in line]
    return "\n".join([f"def {reward.__name__}(prompt, completions):", *body])


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()) or "    (nothing)"
