"""A name, hub id, folder or `.gguf` file → a frozen model and tokenizer; knows no messages and no rewards.

Nothing else in the package loads weights. What is loaded is shared by the whole process and stays as it is.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers.utils.hub import cached_file

from langchain_sea.core.suggestions import suggest
from langchain_sea.errors import ExtraMissingError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.models import tiny
from langchain_sea.models.loading.formats import (
    ACCELERATE_ADVICE,
    GGUF_ADVICE,
    Kind,
    LoadOptions,
    Parts,
    from_hub,
    from_path,
    quiet,
    rebuilt,
)
from langchain_sea.models.loading.quantization import Bits, quantize
from langchain_sea.models.loading.weight_packages import (
    WEIGHT_PACKAGES,
    WeightPackage,
    cache_folder,
    exclusive,
    write_atomically,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Kind", "Loaded", "WeightsLocation", "cache_folder", "default_device", "load", "unload", "where"]

Source = Literal["cache", "carrier package", "folder", "gguf file", "tiny", "hub cache", "missing"]

_ALIGNMENT = 64  # bytes, of what torch allocates
_TINY = {"tiny": "early_30"} | {f"tiny/{tier}": tier for tier in tiny.TIERS}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A frozen model in evaluation mode and its tokenizer; both are shared by the process: change neither."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class WeightsLocation:
    """Where `load` would read a name from, and what to do about it."""

    source: Source
    path: Path | None
    advice: str
    """The command that makes the weights present; empty when they are."""


_loaded: dict[tuple[str, Kind, str, torch.dtype, Bits | None], Loaded] = {}
# One load at a time: to build a model transformers swaps torch's default dtype and initialisers for the
# whole process, and of two builds at once one would put back what the other had swapped in.
_loading = threading.Lock()


def load(
    name: str | os.PathLike[str],
    *,
    kind: Kind = "causal",
    device: str | None = None,
    dtype: torch.dtype | None = None,
    quantization: Bits | None = None,
    device_map: str | dict[str, Any] | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    report: Callable[[str], None] | None = None,
) -> Loaded:
    """The model and tokenizer under `name`, read once per process for each kind, place and precision.

    Args:
        name: `smollm2-135m`, `minilm`, `tiny` (which is `tiny/early_30`; the others are `tiny/expert`,
            `tiny/early_3`, `tiny/early_03`), a folder with `config.json` and safetensors, a `.gguf` file, or
            an id on the hub.
        kind: the head wanted; a checkpoint that lacks it is refused.
        device: cuda where there is one, else cpu.
        dtype: of the weights; bfloat16 on cuda, else float32.
        quantization: keep the linear layers in 8 or 4 bits; `dtype` is then what they compute in. The whole
            weights pass through memory once.
        device_map: how transformers spreads the layers over devices, in place of `device`; needs accelerate.
        trust_remote_code: run Python code that comes with the weights.
        allow_pickle: read `*.bin` where there are no safetensors.
        report: called with one line before each slow step.

    Raises:
        WeightsNotFoundError: nothing under that name; the message says what to run.
        WeightsCorruptError: something is there and cannot, or must not, be used.
        ExtraMissingError: `device_map` without accelerate.
        ValueError: both `device` and `device_map`.
    """
    _require_placeable(device, device_map)
    device = device or default_device()
    dtype = dtype or (torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32)
    trust = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    ask = LoadOptions(
        kind=kind, dtype=dtype, device_map=device_map, report=report or (lambda _: None), **trust
    )
    place = device if device_map is None else repr(device_map)
    key = (_resolved(name), kind, place, dtype, quantization)
    if loaded := _loaded.get(key):
        return loaded
    with _loading:
        if key not in _loaded:
            with quiet():
                model, tokenizer = _read(key[0], ask)
            if quantization is not None:
                quantize(model, quantization)
            if device_map is None:
                model.to(device)  # type: ignore[arg-type]
            model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
            _align(model)
            _loaded[key] = Loaded(key[0], model, tokenizer)
        return _loaded[key]


def default_device() -> str:
    """Where weights go when nobody says where."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _require_placeable(device: str | None, device_map: str | dict[str, Any] | None) -> None:
    if device_map is None:
        return
    if device is not None:
        raise ValueError(f"device={device!r} and device_map={device_map!r} both say where: pass one of them.")
    if not find_spec("accelerate"):
        raise ExtraMissingError(f"a device_map is carried out by accelerate: {ACCELERATE_ADVICE}")


def unload(name: str | os.PathLike[str] | None = None) -> None:
    """Forgets one name, or all: the memory goes when the caller drops its own references too."""
    resolved = None if name is None else _resolved(name)
    with _loading:
        for key in list(_loaded):
            if resolved in {None, key[0]}:
                del _loaded[key]


def where(name: str | os.PathLike[str]) -> WeightsLocation:
    """Where `load` would find `name` now; loads nothing and asks no network."""
    resolved = _resolved(name)
    path = Path(resolved)
    if resolved in _TINY:
        return WeightsLocation("tiny", tiny.WEIGHTS, "")
    if carrier := WEIGHT_PACKAGES.get(resolved):
        return _where_carrier(carrier)
    if path.is_dir():
        return WeightsLocation("folder", path, "")
    if path.is_file() and path.suffix == ".gguf":
        return WeightsLocation("gguf file", path, _gguf_advice())
    if _is_path(name):
        return WeightsLocation("missing", None, f"ls {path.parent}")
    return _where_hub(resolved) or WeightsLocation("missing", None, f"hf download {resolved}")


def _align(model: PreTrainedModel) -> None:
    """Moves tensors out of the mapped file: their alignment there decides the last bit of a product."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


def _where_carrier(carrier: WeightPackage) -> WeightsLocation:
    if carrier.cached.is_dir():
        return WeightsLocation("cache", carrier.cached, "")
    if path := carrier.find():
        return WeightsLocation("carrier package", path, _gguf_advice() if path.is_file() else "")
    return _where_hub(carrier.hub_id) or WeightsLocation("missing", None, carrier.advice)


def _where_hub(hub_id: str) -> WeightsLocation | None:
    try:
        config = cached_file(hub_id, "config.json", local_files_only=True)
    except (OSError, ValueError):
        return None
    return WeightsLocation("hub cache", Path(config).parent, "") if config else None


def _gguf_advice() -> str:
    return "" if find_spec("gguf") else GGUF_ADVICE


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Whether `name` can only be meant as a path: hub ids have at most one slash and no leading dot."""
    text = os.fspath(name)
    looks = text.startswith((".", "~", os.sep)) or text.endswith(".gguf") or text.count("/") > 1
    return not isinstance(name, str) or looks or Path(text).exists()


def _resolved(name: str | os.PathLike[str]) -> str:
    if isinstance(name, str) and (name in _TINY or name in WEIGHT_PACKAGES):
        return f"tiny/{_TINY[name]}" if name in _TINY else name
    return str(Path(name).expanduser().resolve()) if _is_path(name) else os.fspath(name)


def _read(resolved: str, ask: LoadOptions) -> Parts:
    path = Path(resolved)
    if resolved in _TINY:
        model, tokenizer = tiny.load(_TINY[resolved])
        return rebuilt(model, ask), tokenizer
    if carrier := WEIGHT_PACKAGES.get(resolved):
        return _from_carrier(carrier, ask)
    if path.is_absolute():
        ask.report(f"reading {path}")
        return from_path(path, ask)
    ask.report(f"reading {resolved} from the hub")
    known = [*WEIGHT_PACKAGES, *_TINY]
    suggestion = suggest(resolved, known, cutoff=0.7)
    hints = [suggestion] if suggestion else []
    return from_hub(resolved, ask, hints=[*hints, f"names that need no hub: {', '.join(known)}"])


def _from_carrier(carrier: WeightPackage, ask: LoadOptions) -> Parts:
    """The cache, else the carrier package, which then fills the cache, else the hub."""
    if ask.kind not in {carrier.kind, "encoder"}:
        raise WeightsCorruptError(
            f"{carrier.name} is a model of kind {carrier.kind!r}: it has no {ask.kind} head"
        )
    if cached := _from_cache(carrier, ask):
        return cached
    path = carrier.find()
    if path is None:
        ask.report(f"reading {carrier.name} from the hub")
        return from_hub(carrier.hub_id, ask, hints=[f"run: {carrier.advice}"])
    with exclusive(carrier.cached):
        if cached := _from_cache(carrier, ask):  # another process wrote it meanwhile
            return cached
        shutil.rmtree(carrier.cached, ignore_errors=True)
        ask.report(f"reading {carrier.name} (first time: {carrier.first_load})")
        model, tokenizer = from_path(path, LoadOptions(kind=carrier.kind, dtype=torch.float32))
        model.bfloat16()
        kept = write_atomically(carrier.cached, partial(_save, model, tokenizer))
    return (_from_cache(carrier, ask) if kept else None) or (rebuilt(model, ask), tokenizer)


def _from_cache(carrier: WeightPackage, ask: LoadOptions) -> Parts | None:
    if not carrier.cached.is_dir():
        return None
    try:
        return from_path(carrier.cached, ask)
    except (WeightsCorruptError, WeightsNotFoundError) as error:
        ask.report(f"the cached {carrier.name} cannot be used: {error}")
        return None


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
