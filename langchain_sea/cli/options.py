"""Options that several commands have, and the model they describe."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from langchain_sea.cli.console import UsageError, is_terminal, write_status

if TYPE_CHECKING:
    import argparse

    from langchain_core.messages import AIMessage

    from langchain_sea.chat_models import SEAChatModel

__all__ = [
    "DTYPES",
    "add_model_name",
    "add_model_options",
    "answer_question",
    "load_weights",
    "make_model",
    "require_question",
]

DTYPES = ("float32", "bfloat16", "float16")


def add_model_name(parser: argparse.ArgumentParser) -> None:
    """Add `--model`."""
    parser.add_argument("--model", "--policy", default="smollm2-135m", help="a name, hub id, folder or .gguf file")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `make_model` reads."""
    add_model_name(parser)
    parser.add_argument("--reward", action="append", help="a name or file; several times for several")
    parser.add_argument("--preset", default="default", help="default, paper or reference")
    parser.add_argument(
        "--max-time", type=float, default=30.0, help="seconds of refinement, after the draft (default: %(default)g)"
    )
    parser.add_argument(
        "--plan", help="tiny, small, medium, large, extra_large or huge, in place of what fits into --max-time"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=512, help="length of the longest answer (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the model's weights")
    parser.add_argument("--quantization", choices=["int8", "int4"], help="of the model's layers")
    parser.add_argument("--compile-layers", action="store_true", help="for a GPU: slower at first, then faster")
    parser.add_argument("--gate", choices=["safety"], help="an independent check of the answer before it is returned")


def make_model(options: argparse.Namespace) -> SEAChatModel:
    """Build the chat model that the options describe."""
    from langchain_sea.budget import Budget
    from langchain_sea.chat_models import SEAChatModel

    return SEAChatModel(
        model=options.model,
        rewards=options.reward,
        preset=options.preset,
        plan=options.plan,
        budget=Budget(max_time=options.max_time),
        max_tokens=options.max_tokens,
        seed=options.seed,
        gate=options.gate,
        dtype=options.dtype,
        quantization=options.quantization,
        compile_layers=options.compile_layers,
    )


def load_weights(options: argparse.Namespace) -> float:
    """Load the model and its rewards with progress on standard error; return the seconds it took.

    Names of models, rewards, presets and plans are checked before anything is read.
    """
    start = time.monotonic()
    write_status(f"loading {options.model} …")  # before the imports, which take seconds
    make_model(options)

    from langchain_sea.models.registry import load_model
    from langchain_sea.rewards import registry

    policy = load_model(
        options.model,
        dtype=options.dtype,
        quantization=options.quantization,
        compile_layers=options.compile_layers,
        report=write_status,
    )
    registry.make_terms(options.reward, policy)
    return time.monotonic() - start


def require_question(question: str) -> None:
    """Check that there is something to answer.

    Raises:
        UsageError: the question is blank.
    """
    if not question.strip():
        raise UsageError('the question is blank; pass one, such as "What is 14 + 23?"')


def answer_question(model: SEAChatModel, question: str) -> AIMessage:
    """Return the model's answer; standard error shows the plan meanwhile, and on a terminal a bar.

    Raises:
        RefinementInterrupted: Ctrl-C was pressed; it holds the best answer so far.
    """
    from langchain_sea.plotting.progress import ProgressBar

    write_status("writing the draft …")
    return model.invoke(question, {"callbacks": [ProgressBar(has_bar=is_terminal())]})
