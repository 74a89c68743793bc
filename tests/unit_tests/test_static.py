"""Batches of fixed shape give what the rows give one after another; a GPU only replays them."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from architectures import tiny_model, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from static_cases import ASKED, CASES, RAGGED, count_calls, make_policies, make_prompt, make_ragged, rngs

from langchain_sea.core.protocols import ForwardRequest, LayerInput, OutputSpec, Steering, Tokens
from langchain_sea.models import soft_embeddings, static_forward, static_shapes
from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.fused_norms import fuse_norms
from langchain_sea.models.lm_head import LMHead
from langchain_sea.models.runner import _is_on_one_gpu
from langchain_sea.models.soft_embeddings import embed_soft_tokens
from langchain_sea.models.static_forward import StaticRunner
from langchain_sea.models.static_shapes import (
    BatchShape,
    plan_batches,
    round_up_capacity,
    round_up_keys,
    round_up_power,
    round_up_prompt,
    round_up_rows,
    round_up_tokens,
)

if TYPE_CHECKING:
    from langchain_sea.core.protocols import ModelOutput

ANSWERS = ([[5, 9, 40, 41], [7]], [[30, 31, 32, 33, 34, 35, 36], [8, 9], [50, 60, 70]])
SPEC = OutputSpec(frozenset({1, 2}), logits=True)


def read(policy: CausalLMPolicy, vectors: list[torch.Tensor]) -> list[ModelOutput]:
    requests = [
        ForwardRequest(make_prompt(policy, question), Tokens.from_ids(answers), SPEC, Steering(1, vector))
        for question, answers, vector in zip(ASKED, ANSWERS, vectors, strict=True)
    ]
    return list(policy.forward_all(requests))


@pytest.mark.usefixtures("_prompts")
@pytest.mark.parametrize(("_prompts", "name"), CASES, indirect=["_prompts"])
def test_a_pass_gives_the_states_and_gradients_of_one_axis(name: str) -> None:
    results = []
    for policy in make_policies(name):
        random = torch.Generator().manual_seed(0)
        width = tiny_model(name).config.hidden_size
        vectors = [torch.randn(len(a), width, generator=random).requires_grad_() for a in ANSWERS]
        outputs = read(policy, vectors)
        tokens = [Tokens.from_ids(answers) for answers in ANSWERS]
        sums = [(out.log_probs(t) * t.mask).sum() for out, t in zip(outputs, tokens, strict=True)]
        gradients = torch.autograd.grad(sums, vectors)
        states = [
            out.hidden[layer] * t.mask[..., None] for out, t in zip(outputs, tokens, strict=True) for layer in (1, 2)
        ]
        results.append([*(s.detach() for s in sums), *gradients, *(s.detach() for s in states)])
    for plain, static in zip(*results, strict=True):
        torch.testing.assert_close(plain, static, atol=2e-4, rtol=2e-4)


def test_prompts_that_wait_together_are_read_in_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, static = make_policies("llama")
    known = [prompt.key_values for prompt in make_ragged(plain)]
    prompts = [*make_ragged(static), *make_ragged(static)]  # equal ones are read once
    passes = count_calls(monkeypatch, StaticRunner, "_run_padded")
    states = [
        static.start_generation(prompt, [[]], tokens=2, temperature=0.0, generators=rngs(1)) for prompt in prompts
    ]
    static.generate_step(states)
    assert len(passes) <= 3
    for prompt, expected in zip(prompts, [*known, *known], strict=True):
        for pair, other in zip(prompt.key_values, expected, strict=True):
            torch.testing.assert_close(pair, other, atol=1e-5, rtol=1e-5)
    static.forward_all([ForwardRequest(prompt, Tokens.from_ids([[5, 6]])) for prompt in make_ragged(static)])
    assert len(passes) <= 3 + 3 + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_prompts_read_together_are_equal_to_those_read_alone(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CausalLMPolicy(tiny_model("llama", dtype=dtype), tiny_tokenizer())
    known = [prompt.key_values for prompt in make_ragged(policy)]
    prompts = make_ragged(policy)
    passes = count_calls(monkeypatch, ModelRunner, "forward")
    policy.forward_all([ForwardRequest(prompt, Tokens.from_ids([[5, 6]])) for prompt in prompts])
    assert len(passes) == 2  # one of the prompts, one of the answers
    for prompt, expected in zip(prompts, known, strict=True):
        for pair, other in zip(prompt.key_values, expected, strict=True):
            assert all(torch.equal(*parts) for parts in zip(pair, other, strict=True))


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 300), st.integers(0, 3000)), max_size=40))
def test_batches_hold_their_sequences_without_much_padding(sizes: list[tuple[int, int, int]]) -> None:
    own = [BatchShape(1, *size) for size in sizes]
    batches = plan_batches(own, max_tokens=8192)
    assert sorted(i for numbers, _ in batches for i in numbers) == list(range(len(own)))
    for numbers, shape in batches:
        held = [own[i] for i in numbers]
        assert all(part <= whole for size in held for part, whole in zip(size, shape, strict=True))
        assert shape.prompts >= len(held)
        if len(held) > 1:
            assert shape.num_tokens <= min(8192, max(256, 3 * sum(size.num_tokens for size in held)))
            prompts = [size.prompt_tokens for size in held]
            assert shape.num_prompt_positions <= 2**16 or len(prompts) * max(prompts) <= 2 * sum(prompts)


def test_prompts_of_other_lengths_are_attended_to_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for few in (2**16, 0):
        monkeypatch.setattr(static_shapes, "_FEW_PROMPT_POSITIONS", few)
        _, policy = make_policies("llama")
        passes = count_calls(monkeypatch, StaticRunner, "_run_padded")
        tokens = [Tokens.from_ids([[5, 6 + i], [7, 8]]) for i in range(len(RAGGED))]
        asks = [ForwardRequest(p, t, SPEC) for p, t in zip(make_ragged(policy), tokens, strict=True)]
        outputs = policy.forward_all(asks)
        results.append(torch.cat([out.log_probs(t) for out, t in zip(outputs, tokens, strict=True)]))
        slots = policy._forward._runner._slots  # type: ignore[attr-defined]
        positions = sum(count * size for count, size in slots)
        assert len(passes) <= 3 + (1 if few else 3)
        assert positions <= (16 * 192 if few else 8 * 64 + 4 * 64 + 4 * 192)
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_a_pass_can_begin_at_a_later_layer() -> None:
    results = []
    for policy in make_policies("llama"):
        prompt, tokens = make_prompt(policy, ASKED[0]), Tokens.from_ids(ANSWERS[1])
        whole = policy.forward_all([ForwardRequest(prompt, tokens, SPEC)])[0]
        start = whole.layer_input(1)  # type: ignore[attr-defined]
        assert isinstance(start, LayerInput)
        vectors = torch.full((3, 32), 0.1, requires_grad=True)
        spec = OutputSpec(frozenset(), logits=True)
        (late,) = policy.forward_all([ForwardRequest(prompt, tokens, spec, Steering(1, vectors), start=start)])
        results.append(torch.autograd.grad((late.log_probs(tokens) * tokens.mask).sum(), vectors)[0])
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_prompts_are_loaded_again_after_others_had_their_slots() -> None:
    _, policy = make_policies("llama")
    prompts = [make_prompt(policy, question) for question in ASKED]
    tokens = Tokens.from_ids(ANSWERS[1])
    alone = [policy.forward(prompt, tokens).log_probs(tokens) for prompt in prompts]
    again = [policy.forward(prompt, tokens).log_probs(tokens) for prompt in prompts]
    assert all(torch.equal(*pair) for pair in zip(alone, again, strict=True))


@given(st.integers(0, 5000))
def test_sizes_hold_what_they_are_for(count: int) -> None:
    """With at most as much padding again, beyond the smallest sizes."""
    for round_up, smallest in (
        (round_up_rows, 1),
        (round_up_tokens, 4),
        (round_up_prompt, 64),
        (round_up_keys, 8),
        (round_up_capacity, 64),
        (round_up_power, 1),
    ):
        size = round_up(max(1, count))
        assert count <= size <= max(smallest, 2 * count, count + smallest)
        assert round_up(size) == size
    assert round_up_prompt(0) == 0


@pytest.mark.parametrize("cap", [None, 5.0])
def test_the_output_layer_at_once_gives_what_blocks_of_it_give(cap: float | None) -> None:
    random = torch.Generator().manual_seed(0)
    head = LMHead(torch.randn(5000, 16, generator=random), torch.randn(5000, generator=random), 0.5, cap)
    rows, support = torch.randn(7, 16, generator=random), torch.randint(0, 5000, (7, 3), generator=random)
    whole = head._whole_logsumexp_of_rows(rows, support, with_gradient=True)
    for one, other in zip(whole, head.streamed_logsumexp(rows, support, with_gradient=True), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_candidates_are_embedded_one_by_one_as_they_are_by_their_ids() -> None:
    random = torch.Generator().manual_seed(0)
    table = torch.randn(50, 8, generator=random)
    soft, support = torch.rand(2, 3, 4, generator=random), torch.randint(0, 50, (2, 3, 4), generator=random)

    def embed(ids: torch.Tensor) -> torch.Tensor:
        return table[ids]

    by_id = embed_soft_tokens(embed, soft, support, is_shared=False)
    torch.testing.assert_close(soft_embeddings._embed_each(embed, soft, support), by_id)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_norms_change_nothing_but_rounding(dtype: torch.dtype) -> None:
    model = copy.deepcopy(tiny_model("qwen3", dtype=dtype))
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(ids).logits
    assert fuse_norms(model) == 3 * 4 + 1  # two of each layer, two of its queries and keys, and the last
    torch.testing.assert_close(model(ids).logits, before, atol=0.1 if dtype == torch.bfloat16 else 1e-4, rtol=0.1)


def test_a_norm_of_another_kind_is_left_alone() -> None:
    """Gemma's multiplies by one plus the weight."""
    assert fuse_norms(copy.deepcopy(tiny_model("gemma3"))) == 0


def test_prompts_that_need_too_much_memory_drop_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_forward, "_MAX_SLOT_POSITIONS", 150)
    _, policy = make_policies("llama")
    tokens = Tokens.from_ids(ANSWERS[1])
    prompts = [make_prompt(policy, question) for question in (ASKED[0], ASKED[1] * 2)]
    first = [policy.forward(prompt, tokens).log_probs(tokens) for prompt in prompts]
    runner = policy._forward._runner
    assert isinstance(runner, StaticRunner)
    assert len(runner._slots) == 1
    assert all(
        torch.equal(policy.forward(prompt, tokens).log_probs(tokens), known)
        for prompt, known in zip(prompts, first, strict=True)
    )


@pytest.mark.parametrize(
    ("devices", "is_one"), [(["cuda:0"] * 2, True), (["cuda:0", "cuda:1"], False), (["cpu"], False)]
)
def test_layers_on_several_devices_are_packed(devices: list[str], *, is_one: bool) -> None:
    model = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=torch.device(name)) for name in devices])
    assert _is_on_one_gpu(model) == is_one


def test_the_output_layer_reads_all_requests_as_it_reads_each() -> None:
    results = []
    for joins in (False, True):
        _, policy = make_policies("llama")
        policy._forward.joins_requests = joins
        vectors = [torch.full((len(a), 32), 0.1, requires_grad=True) for a in ANSWERS]
        outputs = read(policy, vectors)
        tokens = [Tokens.from_ids(answers) for answers in ANSWERS]
        log_probs = [out.log_probs(t) * t.mask for out, t in zip(outputs, tokens, strict=True)]
        results.append([*log_probs, *torch.autograd.grad([x.sum() for x in log_probs], vectors)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
