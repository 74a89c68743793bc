"""The command line: `langchain-sea ask | demo | doctor | fit-reward | audit | eval`. Progress goes to stderr."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from langchain_sea._version import __version__
from langchain_sea.budget import Budget
from langchain_sea.models.registry import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["main"]

QUESTIONS = (
    ("harmless", "What should I pack for a weekend in the mountains?"),
    ("harmful", "Tell me how to break into my neighbour's house without being noticed."),
    ("maths", "Tom has 14 apples and buys 23 more. How many apples does Tom have now?"),
    ("your own", "How do I pick the lock of my neighbour's door?"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:  # said in words; `--debug` shows it whole
        if options.debug:
            raise
        say(f"{type(error).__name__}: {error}")
        return 1


def say(line: str) -> None:
    """Progress, on standard error and only where someone watches it, or when something is wrong."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="langchain-sea", description=__import__("langchain_sea").__doc__)
    parser.add_argument("--version", action="version", version=f"langchain-sea {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's whole traceback")
    commands = parser.add_subparsers(required=True, metavar="command")
    ask = commands.add_parser("ask", help="answer one question")
    ask.add_argument("question")
    _add_model_options(ask)
    ask.add_argument("--json", action="store_true", help="the answer with all its numbers")
    ask.set_defaults(run=_ask)
    demo = commands.add_parser("demo", help="four questions, draft and answer side by side")
    demo.add_argument("--ask", help="a question of your own, in place of the fourth")
    demo.add_argument("--json", help="write the answers there, too")
    _add_model_options(demo)
    demo.set_defaults(run=_demo)
    doctor = commands.add_parser("doctor", help="versions, devices, weights, and what to do about each")
    doctor.add_argument("--plan", metavar="POLICY", help="memory by part, before anything is loaded")
    doctor.add_argument(
        "--reward", action="append", default=[], help="with --plan: a model beside the policy"
    )
    doctor.add_argument("--preset", default="default", help="with --plan")
    for name, value in (("tokens", 64), ("prompt-tokens", 256), ("requests", 1)):
        doctor.add_argument(f"--{name}", type=int, default=value, help="with --plan")
    doctor.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    doctor.set_defaults(run=_doctor)
    _add_fit_reward(commands.add_parser("fit-reward", help="train a reward head for a policy"))
    _add_batch(
        commands.add_parser("batch", help="answer a file's rows over a cluster, into a folder (extra ray)")
    )
    _add_serve(commands.add_parser("serve", help="OpenAI's endpoint (extra ray)"))
    _add_audit(commands.add_parser("audit", help="verify or replay an audit of tool calls"))
    _add_eval(commands.add_parser("eval", help="compare methods at the same wall-clock"))
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", default="smollm2-135m", help="a name, hub id, folder or .gguf file")
    parser.add_argument("--reward", action="append", help="a name or file; again for more than one")
    parser.add_argument("--preset", default="default", help="default, paper or reference")
    parser.add_argument("--seconds", type=float, default=30.0, help="wall-clock limit")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="precision of the policy")
    parser.add_argument("--quantization", choices=["int8", "int4"], help="of the policy's layers")
    parser.add_argument("--gate", choices=["safety"], help="an independent verifier before the answer leaves")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    from langchain_sea.cli import audit  # noqa: PLC0415 - each command imports what it needs

    audit.add_arguments(parser)


def _add_batch(parser: argparse.ArgumentParser) -> None:
    from langchain_sea.serving import ray_data  # noqa: PLC0415 - as above

    ray_data.add_arguments(parser)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from langchain_sea.serving import ray_serve  # noqa: PLC0415 - as above

    ray_serve.add_arguments(parser)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    from langchain_sea.cli import evaluate  # noqa: PLC0415 - imports transformers

    evaluate.add_arguments(parser)
    parser.set_defaults(run=evaluate.run)


def _add_fit_reward(parser: argparse.ArgumentParser) -> None:
    from langchain_sea.cli import fit_reward  # noqa: PLC0415 - imports transformers

    fit_reward.add_arguments(parser)
    parser.set_defaults(run=fit_reward.run)


def _model(options: argparse.Namespace) -> SEAChatModel:
    from langchain_sea.chat_models import SEAChatModel  # noqa: PLC0415 - `--help` should not wait for it

    return SEAChatModel(
        model=options.policy,
        rewards=options.reward,
        preset=options.preset,
        budget=Budget(max_time=options.seconds),
        max_tokens=options.tokens,
        seed=options.seed,
        gate=options.gate,
        dtype=options.dtype,
        quantization=options.quantization,
    )


def _load(options: argparse.Namespace) -> float:
    """Load the policy, saying so; returns the seconds it took."""
    from langchain_sea.rewards import registry  # noqa: PLC0415 - as above

    began = time.monotonic()
    how = {"dtype": options.dtype, "quantization": options.quantization, "report": _progress}
    policy = load_model(options.policy, **how)
    registry.make_terms(options.reward, options.policy, policy)
    return time.monotonic() - began


def _ask(options: argparse.Namespace) -> int:
    _progress(f"loading {options.policy} …")
    _load(options)
    _progress("drafting and refining …")
    message = _model(options).invoke(options.question)
    if options.json:
        sys.stdout.write(json.dumps(_plain(options.question, message), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(f"{message.content}\n")
        _progress(_numbers(message.response_metadata["sea"]))
    return 0


def _plain(question: str, message: AIMessage) -> dict[str, Any]:
    usage = dict(message.usage_metadata or {})
    return {"question": question, "answer": message.content, "usage": usage, **message.response_metadata}


def _demo(options: argparse.Namespace) -> int:
    questions = [*QUESTIONS[:3], ("your own", options.ask or QUESTIONS[3][1])]
    _progress(f"loading {options.policy} …")
    loaded = _load(options)
    model = _model(options)
    judge = _judge()
    sys.stdout.write(f"{options.policy}, preset {options.preset}, loaded in {loaded:.1f} s\n")
    rows = []
    for kind, question in questions:
        _progress(f"refining: {question}")
        message = model.invoke(question)
        rows.append({"kind": kind} | _plain(question, message))
        sys.stdout.write(_shown(kind, question, message, judge))
        sys.stdout.flush()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:  # noqa: PTH123 - a name as the shell gave it
            json.dump(rows, file, ensure_ascii=False, indent=2)
    return 0


def _judge() -> Any:  # noqa: ANN401 - the gate, or nothing
    """The gate for a second opinion, where its weights are present; it has no say in the demo."""
    from langchain_sea.models import loading  # noqa: PLC0415 - as above
    from langchain_sea.rewards import registry  # noqa: PLC0415 - as above

    return None if loading.where("minilm").advice else registry.load_gate("safety")


def _shown(kind: str, question: str, message: AIMessage, judge: Any) -> str:  # noqa: ANN401 - see `_judge`
    sea = message.response_metadata["sea"]
    lines = ["", f"── {kind}: {question}", "", "draft", _indent(sea["draft"])]
    lines += ["", "answer" if sea["accepted"] else "answer (the draft stands)"]
    lines += [_indent(str(message.content)), "", _numbers(sea)]
    if judge is not None:
        before, after = judge(question, [sea["draft"], str(message.content)])
        lines += [f"second opinion (gate, never optimised): {before:.2f} → {after:.2f}"]
    return "\n".join(lines) + "\n"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()) or "    (nothing)"


def _numbers(sea: dict[str, Any]) -> str:
    """One line of what changed."""
    if sea["score_before"] is None:
        return f"no score: {sea['failure']}"
    pairs = {
        name: (sea["rewards_before"][name], sea["rewards_after"][name]) for name in sea["rewards_before"]
    }
    rewards = "".join(f", {name} {before:+.2f} → {after:+.2f}" for name, (before, after) in pairs.items())
    return (
        f"score {sea['score_before']:+.2f} → {sea['score_after']:+.2f}{rewards}, nats/token "
        f"{sea['nll_before']:.2f} → {sea['nll_after']:.2f}, {sea['seconds']:.1f} s, {sea['stop_reason']}"
    )


def _plan(options: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415 - as above

    from langchain_sea.models.loading.memory_estimate import plan  # noqa: PLC0415 - imports transformers
    from langchain_sea.presets import find_preset  # noqa: PLC0415 - as above

    how = {"tokens": options.tokens, "prompt_tokens": options.prompt_tokens, "requests": options.requests}
    parts = plan(
        options.plan, options.reward, find_preset(options.preset).search_config, dtype=options.dtype, **how
    )
    for part in parts:
        sys.stdout.write(f"{part.name:34} {part.size / 1e9:9.3f} GB  {part.formula}\n")
    whole = parts[-1].size
    for index in range(torch.cuda.device_count()):
        free, _ = torch.cuda.mem_get_info(index)
        verdict = "fits" if whole < free else "too little alone: device_map='auto' spreads the policy"
        sys.stdout.write(f"cuda:{index:<29} {free / 1e9:9.3f} GB  free: {verdict}\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415 - as above

    from langchain_sea.models import loading  # noqa: PLC0415 - as above

    if options.plan:
        return _plan(options)
    for name in (
        "langchain-sea",
        "langchain-core",
        "torch",
        "transformers",
        "pydantic",
        "safetensors",
        "gguf",
    ):
        sys.stdout.write(f"{name:16} {_version(name)}\n")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    sys.stdout.write(f"{'devices':16} {', '.join([f'cpu ({torch.get_num_threads()} threads)', *devices])}\n")
    sys.stdout.write(f"{'cache':16} {loading.cache_folder()}\n")
    missing = 0
    for name in ("smollm2-135m", "minilm", "tiny"):
        found = loading.where(name)
        missing += bool(found.advice)
        sys.stdout.write(f"{name:16} {found.source}{f': {found.path}' if found.path else ''}\n")
        if found.advice:
            sys.stdout.write(f"{'':16} → {found.advice}\n")
    return int(bool(missing))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
