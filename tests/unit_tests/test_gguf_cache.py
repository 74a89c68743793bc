"""A GGUF file is converted once: the next start reads the converted weights."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from models import tiny_model, tiny_tokenizer

from langchain_sea.models import loading
from langchain_sea.models.loading import gguf_cache


def write_file(path, *, dtype=np.float32, size=64):
    """Write a GGUF file that holds one tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((size, 32), dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """Stand in for the conversion, and return the files that were converted."""
    files, from_path = [], loading.from_path

    def convert(path, options):
        if path.suffix != ".gguf":
            return from_path(path, options)
        files.append(path)
        return tiny_model("llama").to(options.dtype), tiny_tokenizer()

    monkeypatch.setattr(loading, "from_path", convert)
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path / "cache"))
    yield files
    loading.unload()


def test_the_second_start_converts_nothing(tmp_path, converted):
    """And reads equal weights."""
    file = write_file(tmp_path / "model.gguf")
    first = loading.load(file, dtype=torch.float32)
    loading.unload(file)
    again = loading.load(file, dtype=torch.float32)
    assert converted == [file]
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_a_changed_file_is_converted_again(tmp_path, converted):
    """Its older weights are removed from the cache; those of other files stay."""
    file, other = write_file(tmp_path / "model.gguf"), write_file(tmp_path / "model-2.gguf")
    for each in (other, file):
        loading.load(each)
    loading.unload()
    write_file(file, size=65)
    loading.load(file)
    assert converted == [other, file, file]
    folders = {folder.name for folder in (tmp_path / "cache").iterdir() if folder.is_dir()}
    assert folders == {gguf_cache.find_converted_folder(each).name for each in (file, other)}


@pytest.mark.parametrize(
    ("dtype", "precision"), [(np.float32, torch.float32), (np.float16, torch.float16), (np.int8, torch.bfloat16)]
)
def test_the_precision_loses_nothing(tmp_path, dtype, precision):
    """Weights of few bits become bfloat16."""
    assert gguf_cache.find_precision(write_file(tmp_path / "model.gguf", dtype=dtype)) == (
        precision,
        64 * 32 * precision.itemsize,
    )


def test_without_room_nothing_is_kept(tmp_path, converted, monkeypatch):
    """The model is loaded, and a warning says why it takes as long the next time."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    file = write_file(tmp_path / "model.gguf")
    with pytest.warns(UserWarning, match="0.0 GB free, and the converted weights need"):
        loading.load(file)
    assert converted == [file]
    assert not list((tmp_path / "cache").glob("gguf-*"))


def test_a_spoilt_cache_is_written_anew(tmp_path, converted):
    """Half a file is no weights."""
    file = write_file(tmp_path / "model.gguf")
    loading.load(file)
    loading.unload()
    weights = gguf_cache.find_converted_folder(file) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    loading.load(file)
    assert converted == [file, file]
