"""Reads a folder, a `.gguf` file, a hub id, or a model in memory; knows no names and no cache."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)
from transformers.utils import logging

from langchain_sea.errors import ExtraMissingError, SEAError, WeightsCorruptError, WeightsNotFoundError
from langchain_sea.models.loading.adapters import find_base, find_shapes, load_fitting
from langchain_sea.models.loading.hub import can_reach_hub, find_cached
from langchain_sea.models.loading.precision import measure_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import PreTrainedConfig
    from transformers.utils.quantization_config import QuantizationConfigMixin

Kind = Literal["causal", "classifier", "encoder"]
ModelAndTokenizer = tuple[PreTrainedModel, PreTrainedTokenizerBase]

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
GGUF_ADVICE = "pip install 'langchain-sea[gguf]'"
PEFT_ADVICE = "pip install 'langchain-sea[adapters]'"
ACCELERATE_ADVICE = "pip install 'langchain-sea[accelerate]'"
_BAR_DELAY = 3  # seconds: small files need no bar
_HEADS = ("score", "classifier", "lm_head")  # an adapter of a classifier contains its own
_AUTO: dict[Kind, Any] = {
    "causal": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
    "encoder": AutoModel,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options of `load` that the readers of files need; without a dtype the faster one is measured."""

    kind: Kind
    dtype: torch.dtype | None
    device_map: str | dict[str, Any] | None = None
    quantization_config: QuantizationConfigMixin | dict[str, Any] | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    report: Callable[[str], None] = lambda _: None


def from_path(path: Path, options: LoadOptions) -> ModelAndTokenizer:
    """Read the weights in a folder or a `.gguf` file."""
    if path.suffix == ".gguf" and not find_spec("gguf"):
        raise WeightsNotFoundError(f"{path} is a GGUF file, and reading one needs gguf: {GGUF_ADVICE}")
    if not path.exists():
        raise WeightsNotFoundError(f"no such file or folder: {path}; check the path")
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path, options)
    if path.is_dir():
        _check_folder(path, options)
    elif path.suffix != ".gguf":
        raise WeightsCorruptError(f"{path} is neither a folder nor a .gguf file; weights are read from those two only")
    with _explained(str(path)):
        return _from_gguf(path, options) if path.is_file() else _from_pretrained(str(path), options)


def _check_folder(folder: Path, options: LoadOptions) -> None:
    if not (folder / "config.json").is_file():
        raise WeightsNotFoundError(f"{folder} has no config.json: it is not a folder that `save_pretrained` wrote")
    if any(folder.glob("*.safetensors")):
        return
    pickled = any(folder.glob("*.bin"))
    if pickled and not options.allow_pickle:
        raise WeightsCorruptError(
            f"{folder} holds pickled weights only (*.bin), and reading a pickle can run any code: "
            "convert them to safetensors, or pass allow_pickle=True if you trust whoever wrote them"
        )
    if not pickled:
        raise WeightsNotFoundError(f"{folder} has a config.json and no *.safetensors beside it")


def _from_adapter(folder: Path, options: LoadOptions) -> ModelAndTokenizer:
    """Read an adapter and merge it into the base model that its configuration names."""
    if not find_spec("peft"):
        raise WeightsNotFoundError(f"{folder} is an adapter, and reading one needs peft: {PEFT_ADVICE}")
    if not options.allow_pickle and not any(folder.glob("*.safetensors")):
        raise WeightsCorruptError(
            f"{folder} holds a pickled adapter only, and reading a pickle can run any code: save it as "
            "safetensors, or pass allow_pickle=True if you trust whoever wrote it"
        )
    if options.quantization_config is not None:
        raise WeightsCorruptError(
            f"{folder} is an adapter, which is merged into unquantized weights: load it without quantization, "
            "save the merged model with save_pretrained, and load that folder; or pass quantization='int8'"
        )
    base = find_base(folder)
    num_labels, num_tokens, has_head = find_shapes(folder)
    shape = {} if num_labels is None or options.kind != "classifier" else {"num_labels": num_labels}
    may_lack = _HEADS if has_head else ()
    with _explained(str(folder)):
        model, tokenizer = _from_pretrained(base, options, may_lack=may_lack, **shape)
        if num_tokens is not None and num_tokens != model.config.get_text_config().vocab_size:
            model.resize_token_embeddings(num_tokens)
        wrapped: Any = load_fitting(model, folder)
        merged: PreTrainedModel = wrapped.merge_and_unload()
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    return merged, tokenizer


def _from_pretrained(
    source: str, options: LoadOptions, may_lack: tuple[str, ...] = (), **shape: int
) -> ModelAndTokenizer:
    dtype = options.dtype or _measure_dtype(source, options)
    model, info = _AUTO[options.kind].from_pretrained(
        source,
        dtype=dtype,
        device_map=options.device_map,
        quantization_config=options.quantization_config,
        trust_remote_code=options.trust_remote_code,
        use_safetensors=None if options.allow_pickle else True,
        ignore_mismatched_sizes=True,  # `_check_complete` refuses them, by name
        output_loading_info=True,
        **shape,
    )
    if may_lack:
        for report in ("missing_keys", "mismatched_keys"):
            info[report] = [key for key in info[report] if not _name_of(key).startswith(may_lack)]
    _check_complete(info, options, source)
    _check_known(info, options, source)
    return model, AutoTokenizer.from_pretrained(source, trust_remote_code=options.trust_remote_code)


def _measure_dtype(source: str, options: LoadOptions) -> torch.dtype:
    """Measure on a model of the same configuration that has no storage."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=options.trust_remote_code)
    with torch.device("meta"):
        model = _AUTO[options.kind].from_config(config, trust_remote_code=options.trust_remote_code)
    return measure_model(model).dtype


def _from_gguf(path: Path, options: LoadOptions) -> ModelAndTokenizer:
    """Dequantize a GGUF file.

    `from_pretrained(gguf_file=)` needs accelerate, and returns a model that is marked as quantized, which
    refuses `save_pretrained` and may keep its weights packed.
    """
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    with torch.device("meta"):
        names = _AUTO["causal"].from_config(config, trust_remote_code=False)
    # a large file takes minutes, so its bar is shown although `quiet` silences all others
    bar = partial(tqdm, delay=_BAR_DELAY, desc=f"converting {path.name}, once", unit=" tensors")
    modeling_gguf_pytorch_utils.tqdm = lambda tensors, **_: bar(tensors)  # type: ignore[assignment, attr-defined]
    tensors = modeling_gguf_pytorch_utils.load_gguf_checkpoint(  # type: ignore[no-untyped-call]
        str(path), return_tensors=True, model_to_load=names
    )["tensors"]
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    for end in ("bos_token", "eos_token"):  # transformers 4 sets both to the same token
        if isinstance(token_id := getattr(config, f"{end}_id"), int):
            setattr(tokenizer, end, tokenizer.convert_ids_to_tokens(token_id))
    return _assembled(config, tensors, options, str(path)), tokenizer


def _assembled(
    config: PreTrainedConfig, tensors: dict[str, torch.Tensor], options: LoadOptions, source: str
) -> PreTrainedModel:
    """Build a model of the requested kind from tensors in memory; buffers keep the precision they need."""
    with torch.device("meta"):
        empty = _AUTO[options.kind].from_config(config, trust_remote_code=False)
    model: PreTrainedModel
    model, info = type(empty).from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=options.dtype or measure_model(empty).dtype,
        device_map=options.device_map,
        quantization_config=options.quantization_config,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _check_complete(info, options, source)
    _check_known(info, options, source)
    return model


def rebuilt(model: PreTrainedModel, options: LoadOptions) -> PreTrainedModel:
    """Build a model of the requested kind and precision from the weights of another."""
    other = _assembled(model.config, model.state_dict(), options, str(model.config.name_or_path))
    if model.can_generate() and other.can_generate():
        other.generation_config = model.generation_config
    return other


def _check_complete(info: dict[str, Any], options: LoadOptions, source: str) -> None:
    """Refuse a model in which transformers has initialized missing weights at random."""
    bad = {_name_of(key) for key in [*info["missing_keys"], *info["mismatched_keys"]]}
    if options.kind == "encoder":
        bad = {key for key in bad if "pooler" not in key}
    if bad:
        raise WeightsCorruptError(
            f"{source} does not hold all the weights of a {options.kind} model: {min(bad)} is missing or not of "
            f"the shape that config.json says, one of {len(bad)} such: download it again, or request another kind"
        )


def _check_known(info: dict[str, Any], options: LoadOptions, source: str) -> None:
    """Refuse weights that have no place in the model: it would compute without them."""
    unknown = {_name_of(key) for key in info["unexpected_keys"]}
    if options.kind != "causal":  # another head is left out, nothing of the model below it
        unknown = {key for key in unknown if ".layer" in key or ".h." in key}
    if unknown:
        raise WeightsCorruptError(
            f"{source} holds weights that have no place in a {options.kind} model of its config.json: {min(unknown)}, "
            f"one of {len(unknown)} such: request another kind, or correct config.json"
        )


def _name_of(key: object) -> str:
    """Return the name in an entry of transformers' report; of a wrong shape it also holds the shapes."""
    return str(key[0] if isinstance(key, tuple) else key)


def from_hub(hub_id: str, options: LoadOptions, *, hints: Sequence[str] = ()) -> ModelAndTokenizer:
    """Read the weights under an id on the hub, or in the hub's own cache."""
    if not _HUB_ID.fullmatch(hub_id):
        raise _not_on_hub(
            hub_id, "an id there is made of letters, digits, '-', '_' and '.', with at most one '/'", hints
        )
    # an id without an owner is most often a misspelt name
    if find_cached(hub_id) is None and not can_reach_hub(if_late="/" in hub_id):
        raise _not_on_hub(
            hub_id, "it does not answer, or HF_HUB_OFFLINE is set, and its cache has no such model", hints
        )
    try:
        with _explained(hub_id):
            return _from_pretrained(hub_id, options)
    except OSError as error:
        raise _not_on_hub(hub_id, str(error), hints) from error


def _not_on_hub(hub_id: str, reason: str, hints: Sequence[str]) -> WeightsNotFoundError:
    ways = [
        *hints,
        f"where there is no network: run `hf download {hub_id}` elsewhere and pass the folder",
        "for a path: start it with ./ or /",
    ]
    listed = "".join(f"\n- {way}" for way in ways)
    return WeightsNotFoundError(f"no weights under {hub_id!r}; the hub: {reason}{listed}")


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Turn what transformers, safetensors, tokenizers and gguf raise into this package's own errors."""
    try:
        yield
    except (SEAError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(source).exists():
            raise
        if isinstance(error, ImportError):
            raise ExtraMissingError(f"{source} cannot be read without another library: {error}") from error
        if "trust_remote_code" in str(error):
            raise WeightsCorruptError(
                f"{source} asks to run Python code of its own, which is refused: read that code, and pass "
                "trust_remote_code=True if you trust it"
            ) from error
        raise WeightsCorruptError(
            f"{source} cannot be read: {type(error).__name__}: {error}; it may be truncated: download it again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and notices, then restore its settings; for one thread at a time."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
