"""GGUF files that were converted once: their weights in the user's cache, as a folder that loads in seconds."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import torch

from langchain_sea.models.loading.weight_packages import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["describe_lack_of_room", "find_converted_folder", "find_precision", "remove_older"]

_PRECISIONS = {"F32": torch.float32, "F16": torch.float16}
_MARGIN = 1.1  # of the disk's free space, for what else is written


def find_converted_folder(file: Path) -> Path:
    """Return the folder of a file's converted weights, whether it exists or not: another one if the file changes."""
    status = file.stat()
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    version = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
    return cache_folder() / f"gguf-{file.stem}-{place}-{version}"


def remove_older(folder: Path) -> None:
    """Remove the weights of older versions of a file from the cache."""
    prefix = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{prefix}-????????"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def find_precision(file: Path) -> tuple[torch.dtype, int]:
    """Return the precision in which a file's weights lose nothing that matters, and the bytes that they then need.

    Weights of fewer than 16 bits become bfloat16, as a model is usually computed in it.
    """
    from gguf import GGUFReader  # noqa: PLC0415 - an extra

    sizes: Counter[str] = Counter()
    for tensor in GGUFReader(file).tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    most = sizes.most_common(1)[0][0] if sizes else ""
    precision = _PRECISIONS.get(most, torch.bfloat16)
    return precision, sizes.total() * precision.itemsize


def describe_lack_of_room(folder: Path, size: int) -> str | None:
    """Return why so many bytes do not fit where a folder is to be written; None if they do."""
    existing = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if free >= _MARGIN * size:
        return None
    return (
        f"{folder.parent} has {free / 1e9:.1f} GB free, and the converted weights need {size / 1e9:.1f} GB: they are "
        "not kept, and every start converts the file again; free some space, or set LANGCHAIN_SEA_CACHE to another disk"
    )
