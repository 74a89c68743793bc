"""Show versions, extras, devices and weights, and what to do about each; or a model's memory, or its speed."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from langchain_sea.cli.console import write_line
from langchain_sea.cli.options import DTYPES
from langchain_sea.cli.speed import show_speed
from langchain_sea.cli.warm import show_warm_up

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "find_extras", "run"]

_PACKAGES = ("langchain-sea", "langchain-core", "torch", "transformers", "pydantic", "safetensors", "gguf")
_WEIGHTS = ("smollm2-135m", "minilm", "tiny")
_GB = 1e9
_NOT_INSTALLED = "not installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    parser.add_argument("--plan", metavar="MODEL", help="memory by part, before anything is loaded")
    parser.add_argument(
        "--speed",
        metavar="MODEL",
        nargs="?",
        const=_WEIGHTS[0],
        help="seconds by part on this machine, and what is searched within 5, 10 and 30 s (default: %(const)s)",
    )
    parser.add_argument(
        "--warm",
        metavar="MODEL",
        nargs="?",
        const=_WEIGHTS[0],
        help="capture the model's CUDA graphs, and say how long each takes and what it holds (default: %(const)s)",
    )
    parser.add_argument("--compile-layers", action="store_true", help="with --warm: compile the layers, too")
    parser.add_argument("--reward", action="append", default=[], help="with --plan, --speed and --warm: a reward model")
    parser.add_argument("--preset", default="default", help="with --plan")
    parser.add_argument("--max-tokens", type=int, default=64, help="with --plan and --warm: tokens of an answer")
    parser.add_argument("--prompt-tokens", type=int, default=256, help="with --plan: tokens of a prompt")
    parser.add_argument("--requests", type=int, default=1, help="with --plan and --warm: prompts refined together")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="with --plan")


def run(options: argparse.Namespace) -> int:
    """Return 0 if all weights are present, else 1."""
    if options.plan:
        return _plan_memory(options)
    if options.warm:
        return show_warm_up(
            options.warm,
            options.reward,
            compile_layers=options.compile_layers,
            max_tokens=options.max_tokens,
            requests=options.requests,
        )
    if options.speed:
        return show_speed(options.speed, options.reward)
    import torch

    from langchain_sea.models import loading

    for name in _PACKAGES:
        write_line(f"{name:16} {_find_version(name)}")
    for name, missing in find_extras().items():
        advice = f"needs {', '.join(missing)}: pip install 'langchain-sea[{name}]'" if missing else "installed"
        write_line(f"{f'[{name}]':16} {advice}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    write_line(f"{'devices':16} {', '.join(['cpu', *devices])}")
    _show_cpu()
    write_line(f"{'cache':16} {loading.cache_folder()}")
    num_missing = 0
    for name in _WEIGHTS:
        location = loading.where(name)
        write_line(f"{name:16} {location.source}{f': {location.path}' if location.path else ''}")
        if location.advice:
            num_missing += 1
            write_line(f"{'':16} → {location.advice}")
    return int(num_missing > 0)


def _show_cpu() -> None:
    """Print the number of threads, and the precision that is faster with the layers of the default model."""
    from langchain_sea.models import hardware, loading
    from langchain_sea.models.loading.precision import measure_folder

    threads, quota = hardware.limit_threads(), hardware.find_quota()
    limits = f"{hardware.count_cpus()} CPUs, {'no quota' if quota is None else f'a quota of {quota:g} CPUs'}"
    write_line(f"{'cpu threads':16} {threads} ({limits})")
    location = loading.where(_WEIGHTS[0])
    if location.path is None or not (location.path / "config.json").is_file():
        write_line(f"{'cpu precision':16} measured when the weights are loaded")
        return
    write_line(f"{'cpu precision':16} {measure_folder(location.path)}, measured on a layer of {_WEIGHTS[0]}")


def find_extras() -> dict[str, list[str]]:
    """Return what lacks of each optional extra: packages that are not installed, or of another version."""
    requirements = [Requirement(line) for line in metadata.requires("langchain-sea") or ()]
    extras = metadata.metadata("langchain-sea").get_all("Provides-Extra") or []
    return {
        extra: [str(needed).partition(";")[0].strip() for needed in requirements if _is_missing(needed, extra)]
        for extra in extras
        if extra != "all"
    }


def _is_missing(needed: Requirement, extra: str) -> bool:
    if needed.marker is None or not needed.marker.evaluate({"extra": extra}):
        return False
    version = _find_version(needed.name)
    return version == _NOT_INSTALLED or not needed.specifier.contains(version, prereleases=True)


def _find_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _NOT_INSTALLED


def _plan_memory(options: argparse.Namespace) -> int:
    import torch

    from langchain_sea.models.loading.memory_estimate import estimate_memory
    from langchain_sea.presets import find_preset

    parts = estimate_memory(
        options.plan,
        options.reward,
        find_preset(options.preset).search_config,
        tokens=options.max_tokens,
        prompt_tokens=options.prompt_tokens,
        requests=options.requests,
        dtype=options.dtype,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    for part in parts:
        write_line(f"{part.name:34} {part.size / _GB:9.3f} GB  {part.formula}")
    total = parts[-1].size
    for index in range(torch.cuda.device_count()):
        free, _ = torch.cuda.mem_get_info(index)
        verdict = "fits" if total < free else "too little for one device: device_map='auto' spreads the model"
        write_line(f"cuda:{index:<29} {free / _GB:9.3f} GB  free: {verdict}")
    return 0
