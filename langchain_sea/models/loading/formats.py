"""A folder, `.gguf` file, hub id or model in memory → model and tokenizer; knows no names and no cache."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from langchain_sea.errors import SEAError, WeightsCorruptError, WeightsNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import PreTrainedConfig

Kind = Literal["causal", "classifier", "encoder"]
Parts = tuple[PreTrainedModel, PreTrainedTokenizerBase]

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
GGUF_ADVICE = "pip install 'langchain-sea[gguf]'"
PEFT_ADVICE = "pip install 'langchain-sea[adapters]'"
ACCELERATE_ADVICE = "pip install 'langchain-sea[accelerate]'"
_HEADS = ("score", "classifier", "lm_head")  # what an adapter of a classifier brings with it
_AUTO: dict[Kind, Any] = {
    "causal": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
    "encoder": AutoModel,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What a caller of `load` asks for."""

    kind: Kind
    dtype: torch.dtype
    device_map: str | dict[str, Any] | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    report: Callable[[str], None] = lambda _: None


def from_path(path: Path, ask: LoadOptions) -> Parts:
    """The weights in a folder or a `.gguf` file."""
    if path.suffix == ".gguf" and not find_spec("gguf"):
        raise WeightsNotFoundError(f"{path} is a GGUF file, and reading one needs gguf: {GGUF_ADVICE}")
    if not path.exists():
        raise WeightsNotFoundError(f"no such file or folder: {path}; check the path")
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path, ask)
    if path.is_dir():
        _check_folder(path, ask)
    elif path.suffix != ".gguf":
        raise WeightsCorruptError(
            f"{path} is neither a folder nor a .gguf file; weights are read from those two only"
        )
    with _explained(str(path)):
        return _from_gguf(path, ask) if path.is_file() else _from_pretrained(str(path), ask)


def _check_folder(folder: Path, ask: LoadOptions) -> None:
    if not (folder / "config.json").is_file():
        raise WeightsNotFoundError(
            f"{folder} has no config.json: it is not a folder that `save_pretrained` wrote"
        )
    if any(folder.glob("*.safetensors")):
        return
    pickled = any(folder.glob("*.bin"))
    if pickled and not ask.allow_pickle:
        raise WeightsCorruptError(
            f"{folder} holds pickled weights only (*.bin), and reading a pickle can run any code: "
            "convert them to safetensors, or pass allow_pickle=True if you trust whoever wrote them"
        )
    if not pickled:
        raise WeightsNotFoundError(f"{folder} has a config.json and no *.safetensors beside it")


def _from_adapter(folder: Path, ask: LoadOptions) -> Parts:
    """An adapter merged into the base that its configuration names."""
    if not find_spec("peft"):
        raise WeightsNotFoundError(f"{folder} is an adapter, and reading one needs peft: {PEFT_ADVICE}")
    if not ask.allow_pickle and not any(folder.glob("*.safetensors")):
        raise WeightsCorruptError(
            f"{folder} holds a pickled adapter only, and reading a pickle can run any code: save it as "
            "safetensors, or pass allow_pickle=True if you trust whoever wrote it"
        )
    from peft import PeftModel  # noqa: PLC0415 - an extra

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    with _explained(str(folder)):
        # a head that the adapter brings is missing in its base
        model, tokenizer = _from_pretrained(config["base_model_name_or_path"], ask, brought=_HEADS)
        wrapped: Any = PeftModel.from_pretrained(model, folder)
        merged: PreTrainedModel = wrapped.merge_and_unload()
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=ask.trust_remote_code)
    return merged, tokenizer


def _from_pretrained(source: str, ask: LoadOptions, brought: tuple[str, ...] = ()) -> Parts:
    model, info = _AUTO[ask.kind].from_pretrained(
        source,
        dtype=ask.dtype,
        device_map=ask.device_map,
        trust_remote_code=ask.trust_remote_code,
        use_safetensors=None if ask.allow_pickle else True,
        ignore_mismatched_sizes=True,  # `_complete` refuses them, by name
        output_loading_info=True,
    )
    info["missing_keys"] = {key for key in info["missing_keys"] if not str(key).startswith(brought)}
    _complete(info, ask, source)
    return model, AutoTokenizer.from_pretrained(source, trust_remote_code=ask.trust_remote_code)


def _from_gguf(path: Path, ask: LoadOptions) -> Parts:
    """De-quantises a GGUF file.

    `from_pretrained(gguf_file=)` would do, but it asks for accelerate and leaves a model marked as quantised,
    which refuses `save_pretrained` and may keep its weights packed.
    """
    from transformers import modeling_gguf_pytorch_utils  # noqa: PLC0415  needs the gguf extra

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    with torch.device("meta"):
        names = _AUTO["causal"].from_config(config, trust_remote_code=False)
    with mock.patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda items, **_: items):
        tensors = modeling_gguf_pytorch_utils.load_gguf_checkpoint(
            str(path),
            return_tensors=True,
            model_to_load=names,  # type: ignore[no-untyped-call]
        )["tensors"]
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    for end in ("bos_token", "eos_token"):  # transformers 4 sets both to the same token
        if isinstance(token_id := getattr(config, f"{end}_id"), int):
            setattr(tokenizer, end, tokenizer.convert_ids_to_tokens(token_id))
    return _assembled(config, tensors, ask, str(path)), tokenizer


def _assembled(
    config: PreTrainedConfig, tensors: dict[str, torch.Tensor], ask: LoadOptions, source: str
) -> PreTrainedModel:
    """A model of the kind asked for around tensors in memory; buffers keep the precision they need."""
    with torch.device("meta"):
        cls = type(_AUTO[ask.kind].from_config(config, trust_remote_code=False))
    model: PreTrainedModel
    model, info = cls.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=ask.dtype,
        device_map=ask.device_map,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _complete(info, ask, source)
    return model


def rebuilt(model: PreTrainedModel, ask: LoadOptions) -> PreTrainedModel:
    """The same weights in the kind and precision asked for."""
    other = _assembled(model.config, model.state_dict(), ask, str(model.config.name_or_path))
    if model.can_generate() and other.can_generate():
        other.generation_config = model.generation_config
    return other


def _complete(info: dict[str, Any], ask: LoadOptions, source: str) -> None:
    """Refuses a model that transformers has filled up with random weights."""
    bad = {str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]]}
    if ask.kind == "encoder":
        bad = {key for key in bad if "pooler" not in key}
    if bad:
        raise WeightsCorruptError(
            f"{source} does not hold all the weights of a {ask.kind} model: {min(bad)} is missing or not of "
            f"the shape that config.json says, one of {len(bad)} such: fetch it again, or ask another kind"
        )


def from_hub(hub_id: str, ask: LoadOptions, *, hints: Sequence[str] = ()) -> Parts:
    """The weights under an id on the hub, or in the hub's own cache."""
    try:
        if not _HUB_ID.fullmatch(hub_id):
            raise OSError("an id there is made of letters, digits, '-', '_' and '.', with at most one '/'")  # noqa: TRY301
        with _explained(hub_id):
            return _from_pretrained(hub_id, ask)
    except OSError as error:
        ways = [
            *hints,
            f"where there is no network: run `hf download {hub_id}` elsewhere and pass the folder",
            "for a path: start it with ./ or /",
        ]
        listed = "".join(f"\n- {way}" for way in ways)
        raise WeightsNotFoundError(f"no weights under {hub_id!r}; the hub says: {error}{listed}") from error


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Turns what transformers, safetensors, tokenizers and gguf raise into this package's own errors."""
    try:
        yield
    except (SEAError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(source).exists():
            raise
        if "trust_remote_code" in str(error):
            raise WeightsCorruptError(
                f"{source} asks to run Python code of its own, which is refused: read that code, and pass "
                "trust_remote_code=True if you trust it"
            ) from error
        raise WeightsCorruptError(
            f"{source} cannot be read: {type(error).__name__}: {error}; it may be truncated: fetch it again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' bars and notices, then puts its settings back; for one thread at a time."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
