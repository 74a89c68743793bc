"""The plan of memory against what is really there."""

from dataclasses import replace

import pytest
from models import save_folder, tiny_model

from langchain_sea import cli
from langchain_sea.errors import WeightsNotFoundError
from langchain_sea.models.loading.memory_estimate import estimate_memory
from langchain_sea.presets import PRESETS

WINDOW = PRESETS["default"].search_config


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gpt2"])
def test_weights_are_counted_to_the_byte(tmp_path, arch):
    folder = save_folder(tmp_path, arch)
    real = sum(p.numel() * p.element_size() for p in tiny_model(arch).parameters())
    parts = {part.name: part.size for part in estimate_memory(str(folder), [], WINDOW, dtype="float32")}
    assert parts[f"policy {folder}"] == real
    assert parts["together"] == sum(size for name, size in parts.items() if name != "together")


def test_the_prompts_states_are_the_caches(tmp_path):
    """Two layers, two heads of eight, keys and values, in float32."""
    folder = save_folder(tmp_path, "qwen3")
    (states,) = [
        p
        for p in estimate_memory(str(folder), [], WINDOW, prompt_tokens=10, requests=3, dtype="float32")
        if p.name == "prompts' states"
    ]
    assert states.size == 3 * 10 * 2 * 2 * 2 * 8 * 4


def test_more_of_everything_takes_more(tmp_path):
    folder = str(save_folder(tmp_path, "llama"))
    least = estimate_memory(folder, [], WINDOW)[-1].size
    for more in ({"requests": 2}, {"prompt_tokens": 512}, {"dtype": "float32"}):
        assert estimate_memory(folder, [], WINDOW, **more)[-1].size > least


def test_a_gradient_passes_the_layers_above_a_rewards_vector_wherever_latents_act_without_one(tmp_path):
    folder = str(save_folder(tmp_path, "llama"))

    def estimate(depth):
        config = replace(WINDOW, latent=replace(WINDOW.latent, depth=depth))
        return {part.name: part.size for part in estimate_memory(folder, [], config)}["a gradient in the latents"]

    assert estimate(0.9) == estimate(0.5) < estimate(0.1)


def test_the_command_prints_it_and_a_name_that_is_not_there_is_named(tmp_path, capsys):
    folder = str(save_folder(tmp_path, "llama"))
    assert cli.main(["doctor", "--plan", folder]) == 0
    assert "together" in capsys.readouterr().out
    with pytest.raises(WeightsNotFoundError, match="no/such"):
        estimate_memory("no/such", [], WINDOW)
