"""Loads weights: a name, hub id, folder or `.gguf` file → a frozen model and its tokenizer.

May import what `models` may import, and is the only place in the package that loads weights of language models. Knows
no messages and no rewards. A loaded model is shared by the whole process.
"""

from __future__ import annotations

import shutil
import threading
import warnings
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from langchain_sea.core.suggestions import require_name, suggest
from langchain_sea.errors import ExtraMissingError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.models import tiny
from langchain_sea.models.hardware import limit_threads
from langchain_sea.models.loading.devices import require_device, require_device_map
from langchain_sea.models.loading.formats import (
    ACCELERATE_ADVICE,
    Kind,
    LoadOptions,
    ModelAndTokenizer,
    from_hub,
    from_path,
    quiet,
    rebuilt,
)
from langchain_sea.models.loading.gguf_cache import (
    describe_lack_of_room,
    find_converted_folder,
    find_precision,
    remove_older,
)
from langchain_sea.models.loading.locations import TINY_TIERS, WeightsLocation, resolve, where
from langchain_sea.models.loading.quantization import Bits, quantize
from langchain_sea.models.loading.weight_packages import (
    WEIGHT_PACKAGES,
    WeightPackage,
    cache_folder,
    exclusive,
    write_atomically,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.quantization_config import QuantizationConfigMixin

__all__ = ["Bits", "Kind", "Loaded", "WeightsLocation", "cache_folder", "default_device", "load", "unload", "where"]

_ALIGNMENT = 64  # bytes, of the memory that torch allocates


@dataclass(frozen=True, slots=True)
class Loaded:
    """A frozen model in evaluation mode and its tokenizer; the process shares both, so change neither."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


_Key = tuple[str, Kind, str, torch.dtype | None, str]
"""Name, kind, place, precision (None if it is measured) and quantization."""
_loaded: dict[_Key, Loaded] = {}
# One load at a time: to build a model transformers swaps torch's default dtype and initializers for the
# whole process, and of two builds at once one would restore what the other had swapped in.
_loading = threading.Lock()


def load(
    name: str | os.PathLike[str],
    *,
    kind: Kind = "causal",
    device: str | None = None,
    dtype: torch.dtype | Literal["measured"] | None = None,
    quantization: Bits | QuantizationConfigMixin | dict[str, Any] | None = None,
    device_map: str | dict[str, Any] | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    report: Callable[[str], None] | None = None,
) -> Loaded:
    """Load the model and tokenizer under `name`, once per process for each kind, device and precision.

    The first call lowers torch's number of threads to what the container's CPU quota allows, unless the user chose
    the number: see `models.hardware.choose_num_threads`.

    Args:
        name: `smollm2-135m`, `minilm`, `tiny` (which is `tiny/early_30`; the others are `tiny/expert` and
            `tiny/early_03`), a folder with `config.json` and safetensors, a `.gguf` file, or a hub id.
        kind: the head to load; a checkpoint without it is refused.
        device: cuda if there is one, else cpu.
        dtype: of the weights; None takes bfloat16 on cuda, else float32. `"measured"` takes on a CPU the faster of
            float32 and bfloat16, measured on products of the model's shapes: see `models.hardware.choose_dtype`.
        quantization: `int8` or `int4` keeps the linear layers in 8 or 4 bits on any device, and computes in
            `dtype`; the unquantized weights pass through memory once. A configuration, or its dict, is the
            `quantization_config` of transformers' `from_pretrained`.
        device_map: how transformers spreads the layers over devices, in place of `device`; needs accelerate.
        trust_remote_code: run Python code that comes with the weights.
        allow_pickle: read `*.bin` if there are no safetensors.
        report: called with one line before each slow step.

    Raises:
        WeightsNotFoundError: there is nothing under that name; the message says what to run.
        WeightsCorruptError: the weights cannot, or must not, be used.
        ExtraMissingError: `device_map` without accelerate, or a quantization library is missing.
        ArchitectureError: the model has no linear layers that could be quantized.
        ValueError: both `device` and `device_map`, a device that is not there, or an unknown `quantization`.
    """
    if isinstance(quantization, str):
        require_name(quantization, get_args(Bits), "quantization", otherwise="a configuration of transformers")
    _require_placeable(device, device_map)
    device = device or default_device()
    precision = _resolve_dtype(dtype, device)
    options = LoadOptions(
        kind=kind,
        dtype=precision,
        device_map=device_map,
        quantization_config=None if isinstance(quantization, str) else quantization,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        report=report or (lambda _: None),
    )
    resolved, place = resolve(name), device if device_map is None else repr(device_map)
    key = (resolved, kind, place, precision, repr(quantization))
    if loaded := _loaded.get(key):
        return loaded
    limit_threads()
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load_anew(key, options, quantization, device if device_map is None else None)
        return _loaded[key]


def _load_anew(
    key: _Key,
    options: LoadOptions,
    quantization: Bits | QuantizationConfigMixin | dict[str, Any] | None,
    device: str | None,
) -> Loaded:
    """Read the weights of a key; a device of None leaves them where transformers has put them."""
    with quiet():
        model, tokenizer = _read(key[0], options)
    precision = options.dtype or model.config.dtype
    assert isinstance(precision, torch.dtype)
    # it may have been loaded before in the precision that was measured just now
    measured_key = (*key[:3], precision, key[4])
    if measured_key not in _loaded:
        if isinstance(quantization, str):
            quantize(model, quantization)
        _freeze(model, device)
        _loaded[measured_key] = Loaded(key[0], model, tokenizer)
    return _loaded[measured_key]


def default_device() -> str:
    """Return the device of weights if the caller names none."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _resolve_dtype(dtype: torch.dtype | Literal["measured"] | None, device: str) -> torch.dtype | None:
    """Return None if the precision is measured once the model's shapes are known."""
    if isinstance(dtype, torch.dtype):
        return dtype
    kind = torch.device(device).type
    if kind == "cpu" and dtype == "measured":
        return None
    return torch.bfloat16 if kind == "cuda" else torch.float32


def _require_placeable(device: str | None, device_map: str | dict[str, Any] | None) -> None:
    if device:
        require_device(device)
    if device_map is None:
        return
    if device is not None:
        raise ValueError(f"device={device!r} and device_map={device_map!r} both say where: pass one of them.")
    if not find_spec("accelerate"):
        raise ExtraMissingError(f"a device_map is carried out by accelerate: {ACCELERATE_ADVICE}")
    require_device_map(device_map)


def unload(name: str | os.PathLike[str] | None = None) -> None:
    """Forget one name, or all; the memory is freed once the caller drops its own references."""
    resolved = None if name is None else resolve(name)
    with _loading:
        for key in list(_loaded):
            if resolved in {None, key[0]}:
                del _loaded[key]


def _freeze(model: PreTrainedModel, device: str | None) -> None:
    """Put the model on the device, unless it is there, in evaluation mode and without gradients."""
    here = {model.device, torch.device(model.device.type)}
    if device is not None and torch.device(device) not in here:
        model.to(device)  # type: ignore[arg-type]
    model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
    for tensor in (*model.parameters(), *model.buffers()):
        # out of the mapped file: a tensor's alignment there decides the last bit of a product
        is_plain = type(tensor.data) is torch.Tensor
        if is_plain and tensor.data_ptr() % _ALIGNMENT:
            tensor.data = tensor.data.clone()


def _read(resolved: str, options: LoadOptions) -> ModelAndTokenizer:
    if resolved in TINY_TIERS:
        model, tokenizer = tiny.load(TINY_TIERS[resolved])
        return rebuilt(model, options), tokenizer
    if package := WEIGHT_PACKAGES.get(resolved):
        return _from_package(package, options)
    path = Path(resolved)
    if path.is_absolute():
        options.report(f"reading {path}")
        if path.suffix == ".gguf" and path.is_file() and find_spec("gguf"):
            return _from_gguf(path, options)
        return from_path(path, options)
    options.report(f"reading {resolved} from the hub")
    known = [*WEIGHT_PACKAGES, *TINY_TIERS]
    hints = [suggest(resolved, known, cutoff=0.7), f"names that need no hub: {', '.join(known)}"]
    return from_hub(resolved, options, hints=list(filter(None, hints)))


def _from_package(package: WeightPackage, options: LoadOptions) -> ModelAndTokenizer:
    """Read the cache; if there is none, the installed package, which then fills the cache; else the hub."""
    if options.kind not in {package.kind, "encoder"}:
        raise WeightsCorruptError(f"{package.name} is a model of kind {package.kind!r}: it has no {options.kind} head")
    if cached := _from_cache(package, options):
        return cached
    path = package.find()
    if path is None:
        options.report(f"reading {package.name} from the hub")
        return from_hub(package.hub_id, options, hints=[f"run: {package.advice}"])
    with exclusive(package.cached):
        if cached := _from_cache(package, options):  # another process wrote it meanwhile
            return cached
        shutil.rmtree(package.cached, ignore_errors=True)
        options.report(f"reading {package.name} (first time: {package.first_load})")
        model, tokenizer = from_path(path, LoadOptions(kind=package.kind, dtype=torch.float32))
        model.bfloat16()
        is_written = write_atomically(package.cached, partial(_save, model, tokenizer))
    return (_from_cache(package, options) if is_written else None) or (rebuilt(model, options), tokenizer)


def _from_gguf(file: Path, options: LoadOptions) -> ModelAndTokenizer:
    """Read the weights that a file was converted to; the first time, convert it and keep them."""
    folder = find_converted_folder(file)
    if cached := _from_folder(folder, file.name, options):
        return cached
    try:
        precision, size = find_precision(file)
    except (ValueError, IndexError, KeyError):  # no whole GGUF file: reading it says what is wrong
        return from_path(file, options)
    if reason := describe_lack_of_room(folder, size):
        warnings.warn(reason, stacklevel=2)
        return from_path(file, options)
    with exclusive(folder):
        if cached := _from_folder(folder, file.name, options):  # another process wrote it meanwhile
            return cached
        shutil.rmtree(folder, ignore_errors=True)
        options.report(f"converting {file.name}, once: {size / 1e9:.1f} GB in {folder}")
        model, tokenizer = from_path(file, LoadOptions(kind="causal", dtype=precision))
        if write_atomically(folder, partial(_save, model, tokenizer)):
            remove_older(folder)
    return _from_folder(folder, file.name, options) or (rebuilt(model, options), tokenizer)


def _from_cache(package: WeightPackage, options: LoadOptions) -> ModelAndTokenizer | None:
    return _from_folder(package.cached, package.name, options)


def _from_folder(folder: Path, name: str, options: LoadOptions) -> ModelAndTokenizer | None:
    """Read weights from the cache; None if there are none, or none that can be read."""
    if not folder.is_dir():
        return None
    try:
        return from_path(folder, options)
    except (WeightsCorruptError, WeightsNotFoundError) as error:
        options.report(f"the cached {name} cannot be used: {error}")
        return None


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
