"""Adapters and checkpoints that do not fit: each is an error that names what is wrong, and none is the base model."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from architectures import VOCAB, tiny_model, tiny_tokenizer
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from langchain_sea import weights
from langchain_sea.errors import WeightsCorruptError
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards.adapters import load_adapter

peft = pytest.importorskip("peft")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
IDS = torch.tensor([[40, 50, 60, 70]])


@pytest.fixture
def base(tmp_path):
    copy.deepcopy(tiny_model("llama")).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def save_adapter(base, folder, *, labels=None):
    """Save an adapter of random weights, and return its logits."""
    torch.manual_seed(0)
    kind, shape = (LlamaForCausalLM, {}) if labels is None else (LlamaForSequenceClassification, {"num_labels": labels})
    task = "CAUSAL_LM" if labels is None else "SEQ_CLS"
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type=task)
    model = peft.get_peft_model(kind.from_pretrained(base, **shape), config).eval()
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return model(IDS).logits


def rename(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = safetensors_torch.load_file(path)
    renamed = {new: value for key, value in tensors.items() if (new := change(key))}
    safetensors_torch.save_file(renamed, path, {"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.replace("model.model.", "model.model.language_model."),
        lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda key: None if "layers.1" in key else key,
        lambda key: key.replace("layers.1", "layers.7"),
    ],
)
def test_an_adapter_that_does_not_fit_is_an_error_that_names_a_weight(base, tmp_path, change):
    """Both when it is merged and when it shares the base's weights."""
    save_adapter(base, tmp_path / "adapter")
    rename(tmp_path / "adapter", change)
    with pytest.raises(WeightsCorruptError, match=r"does not fit.*lora_"):
        weights.load(tmp_path / "adapter", device="cpu")
    with pytest.raises(WeightsCorruptError, match=r"does not fit.*lora_"):
        load_adapter(CausalLMPolicy(tiny_model("llama"), tiny_tokenizer()), tmp_path / "adapter")


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_the_adapters_own_head_decides_the_labels(base, tmp_path, labels):
    """The configuration of a base says two, whatever the adapter was trained for."""
    expected = save_adapter(base, tmp_path / "adapter", labels=labels)
    found = weights.load(tmp_path / "adapter", kind="classifier", device="cpu").model(IDS).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj"]},
        {"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"]},
    ],
)
def test_an_adapter_for_added_tokens_brings_their_embeddings(base, tmp_path, parts):
    """PEFT writes such layers more than once: by their own names, and by those of its wrappers."""
    torch.manual_seed(0)
    model = LlamaForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(VOCAB + 2)
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM", **parts))
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 * ("modules_to_save" in name)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.eval().save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    ids = torch.tensor([[40, 50, VOCAB, VOCAB + 1]])
    logits = weights.load(tmp_path / "adapter", device="cpu").model(ids).logits
    torch.testing.assert_close(logits, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_classifier_without_a_head_is_refused(base, tmp_path):
    """Its scores would be random."""
    save_adapter(base, tmp_path / "adapter")
    with pytest.raises(WeightsCorruptError, match=r"score\.weight"):
        weights.load(tmp_path / "adapter", kind="classifier", device="cpu")


@pytest.mark.parametrize(("named", "message"), [(None, "names no base"), ("./gone", "no such folder")])
def test_an_adapter_without_its_base_says_so(base, tmp_path, named, message):
    save_adapter(base, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": named}))
    with pytest.raises(WeightsCorruptError, match=message):
        weights.load(tmp_path / "adapter", device="cpu")


def test_weights_that_have_no_place_in_the_model_are_refused(base):
    """A configuration with fewer layers would give another model."""
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 2}))
    for kind in ("causal", "encoder"):
        with pytest.raises(WeightsCorruptError, match=r"layers\.2\..*no place|no place.*layers\.2\."):
            weights.load(base, kind=kind, device="cpu")
