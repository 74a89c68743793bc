"""What is replayed as a CUDA graph gives what the same calls give without one: `python -m pytest tests/gpu`."""

from __future__ import annotations

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer

from langchain_sea import cli
from langchain_sea.core.protocols import ForwardRequest, OutputSpec, Steering, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.cuda_graphs import GraphedFunction
from langchain_sea.models.graph_cache import GraphCache
from langchain_sea.models.policy_forward import PolicyForward
from langchain_sea.models.static_forward import StaticRunner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
NAMES = ("llama", "gemma3", "gpt2", "mistral", "phi3", "qwen3")
MIXTURES = ("gpt_oss", "deepseek_v3", "mixtral", "qwen3_moe")
ANSWERS = ([[5, 9, 40, 41], [7]], [[30, 31, 32, 33, 34, 35, 36], [8, 9], [50, 60, 70]])
SPEC = OutputSpec(frozenset({2}), logits=True)


def make_policy(name: str, *, captures: bool) -> tuple[CausalLMPolicy, GraphCache]:
    model = tiny_model(name).to("cuda")
    policy, runner = CausalLMPolicy(model, tiny_tokenizer()), StaticRunner(model)
    runner.graphs.is_enabled = captures
    policy._lazy_forward = PolicyForward(model, runner)
    return policy, runner.graphs


def differentiate(policy: CausalLMPolicy) -> list[torch.Tensor]:
    """Two passes before the gradient of either, so that the first one's graph is replayed again for it."""
    prompt = policy.prompt([{"role": "user", "content": "12 + 30 ="}])
    results = []
    for seed, answers in enumerate((ANSWERS[1], ANSWERS[1][::-1])):
        random = torch.Generator().manual_seed(seed)
        vectors = torch.randn(3, 32, generator=random).cuda().requires_grad_()
        tokens = Tokens.from_ids(answers, policy.device)
        (output,) = policy.forward_all([ForwardRequest(prompt, tokens, SPEC, Steering(1, vectors))])
        results.append(((output.log_probs(tokens) * tokens.mask).sum(), vectors))
    return [torch.autograd.grad(value, vectors)[0] for value, vectors in results]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_without_graphs(name: str) -> None:
    with_graphs, cache = make_policy(name, captures=True)
    without, _ = make_policy(name, captures=False)
    for _ in range(3):  # the first call is not captured
        for one, other in zip(differentiate(with_graphs), differentiate(without), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert any("gradient" in capture.name for capture in cache.captures)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_without_graphs(name: str) -> None:
    written = []
    for captures in (True, False):
        policy, cache = make_policy(name, captures=captures)
        prompt = policy.prompt([{"role": "user", "content": "12 + 30 ="}])
        generators = [torch.Generator("cuda").manual_seed(seed) for seed in range(3)]
        steering = Steering(1, torch.randn(3, 32, generator=torch.Generator().manual_seed(0)).cuda())
        written.append(
            policy.generate(
                prompt, [[], [5], [5, 6]], tokens=12, temperature=1.0, generators=generators, steering=steering
            )
        )
        assert bool(cache.captures) == captures
    assert written[0] == written[1]


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_are_captured_and_give_what_they_give_without_graphs(name: str) -> None:
    """From compute capability 8.0 on, transformers multiplies all experts at once: none is chosen on the host."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("experts are chosen on the host, so that a capture fails")
    with_graphs, cache = make_policy(name, captures=True)
    without, _ = make_policy(name, captures=False)
    for _ in range(3):
        for one, other in zip(differentiate(with_graphs), differentiate(without), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert any("gradient" in capture.name for capture in cache.captures)


def test_what_cannot_be_captured_runs_as_usual() -> None:
    cache = GraphCache(torch.device("cuda"))

    def read_on_the_host(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x * float(x.sum()),)

    function = GraphedFunction(read_on_the_host, cache, "a function that waits", num_eager_calls=0)
    x = torch.ones(3, device="cuda")
    with pytest.warns(RuntimeWarning, match="a function that waits runs without a CUDA graph"):
        assert function(x)[0].tolist() == [3.0, 3.0, 3.0]
    assert function(2 * x)[0].tolist() == [12.0, 12.0, 12.0]
    assert cache.is_enabled  # others can still be captured


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_compiled_layers_give_what_others_give() -> None:
    nats = []
    for compiles in (False, True):
        policy = CausalLMPolicy(tiny_model("llama").to("cuda"), tiny_tokenizer(), compile_layers=compiles)
        prompt = policy.prompt([{"role": "user", "content": "12 + 30 ="}])
        tokens = Tokens.from_ids(ANSWERS[0], policy.device)
        nats.append(policy.forward(prompt, tokens).log_probs(tokens) * tokens.mask)
    torch.testing.assert_close(nats[0], nats[1], atol=1e-4, rtol=1e-4)


def test_warming_up_says_what_graphs_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--warm", "tiny", "--max-tokens", "12"]) == 0
    printed = capsys.readouterr().out
    assert "a decoding step of" in printed
    assert "warm" in printed
