"""Batches of fixed shape give what the rows give one after another; a GPU only replays them."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from architectures import ALL_ARCHITECTURES, tiny_model, tiny_tokenizer
from doubles import SMALL_PRESET
from hypothesis import given
from hypothesis import strategies as st
from slow_cases import named_fast
from test_architectures import HYBRID

from langchain_sea import Budget, make_energy, refine
from langchain_sea.core.protocols import ForwardRequest, LayerInput, OutputSpec, Steering, Tokens
from langchain_sea.models import (
    cuda_graphs,
    generation,
    policy_forward,
    soft_embeddings,
    static_attention,
    static_decode,
    static_forward,
    static_shapes,
)
from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.decode_arena import DecodeArena
from langchain_sea.models.fused_norms import fuse_norms
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.lm_head import LMHead
from langchain_sea.models.policy_forward import PolicyForward
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
    from collections.abc import Callable, Sequence

    from langchain_sea.core.protocols import ModelOutput
    from langchain_sea.models.prompt import PolicyPrompt

NAMES = tuple(name for name in ALL_ARCHITECTURES if name not in HYBRID)
GROWS = ("llama", "gemma3", "deepseek_v3")  # one of each kind of cache writes more than the smallest capacity
SHARED = ("llama", "qwen3", "gemma3", "gpt2", "deepseek_v3", "gemma2", "gpt_oss", "mixtral")  # one of each kind
CASES = named_fast(
    [*(("copied", name) for name in NAMES), *(("shared", name) for name in SHARED)],
    fast=[("copied", "gemma3"), ("shared", "llama")],
)
ASKED = ("12 + 30 =", "Name a colour that is neither red nor green, and say why you like it.")
ANSWERS = ([[5, 9, 40, 41], [7]], [[30, 31, 32, 33, 34, 35, 36], [8, 9], [50, 60, 70]])
TOOL = {"type": "function", "function": {"name": "multiply", "parameters": {"type": "object", "properties": {}}}}
SPEC = OutputSpec(frozenset({1, 2}), logits=True)


def make_policies(name: str) -> tuple[CausalLMPolicy, CausalLMPolicy]:
    """One that runs rows on one axis, and one that runs batches of fixed shape."""
    model, tokenizer = tiny_model(name), tiny_tokenizer()
    plain, static = CausalLMPolicy(model, tokenizer), CausalLMPolicy(model, tokenizer)
    static._lazy_forward = PolicyForward(model, StaticRunner(model))
    return plain, static


def make_prompt(policy: CausalLMPolicy, question: str) -> PolicyPrompt:
    return policy.prompt([{"role": "user", "content": question}])


@pytest.fixture
def _prompts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether rows have a copy of their prompt; both ways are for prompts of any length."""
    if request.param == "shared":
        monkeypatch.setattr(static_attention, "_MAX_COPIED_POSITIONS", 0)
        monkeypatch.setattr(static_decode, "_MAX_COPIED_POSITIONS", 0)
        monkeypatch.setattr(static_decode, "_MAX_PADDING", 100)


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


@pytest.mark.usefixtures("_prompts")
@pytest.mark.parametrize(("_prompts", "name"), CASES, indirect=["_prompts"])
def test_decoding_draws_the_tokens_of_one_axis(name: str) -> None:
    """With rows that end, prefixes of several lengths, steering, and a second generation that joins later."""
    longest = 70 if name in GROWS else 14
    written = []
    for policy in make_policies(name):
        width = tiny_model(name).config.hidden_size
        steering = Steering(1, torch.randn(4, width, generator=torch.Generator().manual_seed(1)))
        prompts = [make_prompt(policy, question) for question in ASKED]
        first = policy.start_generation(
            prompts[0], [[], [5], [5, 6], [9]], tokens=8, temperature=1.0, generators=rngs(4), steering=steering
        )
        for _ in range(3):
            policy.generate_step([first])
        second = policy.start_generation(prompts[1], [[], []], tokens=longest, temperature=0.7, generators=rngs(2))
        while first.num_unfinished or second.num_unfinished:
            policy.generate_step([second, first])
        written.append([first.written, second.written])
    assert written[0] == written[1]
    assert max(len(ids) for ids in written[0][1]) > 0


def rngs(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_a_generation_that_is_left_out_goes_on_where_it_was() -> None:
    written = []
    for policy in make_policies("llama"):
        prompts = [make_prompt(policy, question) for question in ASKED]
        states = [
            policy.start_generation(prompt, [[], []], tokens=9, temperature=1.0, generators=rngs(2))
            for prompt in prompts
        ]
        for turn in ([0], [0, 1], [1], [1], [0], [0, 1], [1, 0]):
            policy.generate_step([states[i] for i in turn])
        while any(state.num_unfinished for state in states):
            policy.generate_step(states)
        written.append([state.written for state in states])
    assert written[0] == written[1]


RAGGED = (3, 40, 12, 100, 5, 60, 7, 9, 150, 30, 4, 11)  # tokens of prompts


def make_ragged(policy: CausalLMPolicy) -> list[PolicyPrompt]:
    return [policy.prompt_from_ids([7 + (i * length) % 200 for i in range(length)], ()) for length in RAGGED]


def count_calls(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[object]:
    """A list that gets one entry for each call of a method."""
    calls: list[object] = []
    method = getattr(owner, name)

    def counted(*args: object, **options: object) -> object:
        calls.append(args[1:])
        return method(*args, **options)

    patch.setattr(owner, name, counted)
    return calls


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


@pytest.mark.parametrize("_prompts", ["copied", "shared"], indirect=True)
@pytest.mark.usefixtures("_prompts")
def test_rows_that_come_take_the_places_of_rows_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve generations, each of which begins a step after another: the batch is rebuilt while it grows, at most."""
    written = []
    for policy in make_policies("llama"):
        rebuilds = count_calls(monkeypatch, static_decode.StaticDecoder, "_rebuild")
        prompts = make_ragged(policy)
        states = [
            policy.start_generation(prompt, [[]], tokens=4, temperature=1.0, generators=rngs(1)) for prompt in prompts
        ]
        for number in range(len(states) + 4):
            policy.generate_step(states[: number + 1])
        written.append([state.written for state in states])
    assert written[0] == written[1]
    assert 0 < len(rebuilds) <= 6


@pytest.mark.parametrize("_prompts", ["copied", "shared"], indirect=True)
@pytest.mark.usefixtures("_prompts")
def test_a_batch_waits_for_those_that_come_a_step_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times all rows end, and one request begins before the others: their batch is kept. A long one leaves it."""
    written = []
    for policy in make_policies("llama"):
        rebuilds = count_calls(monkeypatch, static_decode.StaticDecoder, "_rebuild")
        prompts = make_ragged(policy)
        for turn in range(3):
            states = [
                policy.start_generation(p, [[5 + turn]] * 3, tokens=5, temperature=1.0, generators=rngs(3))
                for p in prompts
            ]
            for number in range(6):
                policy.generate_step(states if number else states[:1])
            written.append([state.written for state in states])
        in_crowd = len(rebuilds)
        last = policy.start_generation(prompts[0], [[]], tokens=20, temperature=1.0, generators=rngs(1))
        while last.num_unfinished:
            policy.generate_step([last])
        written.append([last.written])
    assert written[:4] == written[4:]
    assert in_crowd <= 2
    assert len(rebuilds) == in_crowd + 1


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_step_of_decoding_is_captured_when_it_is_used_again(
    monkeypatch: pytest.MonkeyPatch, *, succeeds: bool
) -> None:
    """A capture runs the step, and still no row loses its place; one that failed is not tried at each step."""
    captured: list[str] = []

    def make_capture(
        function: Callable[..., tuple[torch.Tensor, ...]], _cache: object, name: str, inputs: Sequence[torch.Tensor]
    ) -> Callable[..., tuple[torch.Tensor, ...]] | None:
        captured.append(name)
        function(*inputs)
        function(*inputs)
        return function if succeeds else None

    written = []
    for policy in make_policies("llama"):
        runner = policy._forward._runner
        if isinstance(runner, StaticRunner):
            monkeypatch.setattr(cuda_graphs._Captured, "make", make_capture)
            runner.graphs.is_enabled = True
        first, second = (
            policy.start_generation(prompt, [[], []], tokens=9, temperature=1.0, generators=rngs(2))
            for prompt in make_ragged(policy)[:2]
        )
        policy.generate_step([first])
        policy.generate_step([first, second])  # in a new batch
        assert not [name for name in captured if "decoding" in name]
        while first.num_unfinished or second.num_unfinished:
            policy.generate_step([first, second])
        written.append([first.written, second.written])
    assert written[0] == written[1]
    assert len([name for name in captured if "decoding" in name]) == 1


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


def make_grammar(policy: CausalLMPolicy, **value: object) -> JsonGrammar:
    schema = {"type": "object", "properties": {"a": value}, "required": ["a"], "additionalProperties": False}
    return JsonGrammar(schema, policy.tokenizer, policy.vocab_size, sorted(policy.end_ids))


@pytest.mark.parametrize("other", ["grammar", "prompt of one token"])
@pytest.mark.parametrize("num_before", [0, 6])
def test_a_generation_beside_one_of_another_kind_writes_what_it_writes_alone(other: str, num_before: int) -> None:
    """The other one joins later, or is there from the beginning and leaves."""
    written = []
    for policy in make_policies("llama"):
        prompts = [make_prompt(policy, question) for question in ASKED]
        strict = replace(prompts[1], grammar=make_grammar(policy, type="string", maxLength=8))
        beside = strict if other == "grammar" else policy.prompt_from_ids([7], ())
        plain, alone = (
            policy.start_generation(prompts[0], [[], []], tokens=30, temperature=0.0, generators=rngs(2))
            for _ in range(2)
        )
        second = policy.start_generation(beside, [[]], tokens=12, temperature=0.0, generators=rngs(1))
        for _ in range(num_before):
            policy.generate_step([plain])
        while second.num_unfinished:
            policy.generate_step([plain, second])
        num_beside = len(plain.written[0]) - num_before
        for state in (plain, alone):
            while state.num_unfinished:
                policy.generate_step([state])
        assert plain.written == alone.written
        assert 0 < num_beside < len(plain.written[0]) - num_before
        written.append([plain.written, second.written])
    assert written[0] == written[1]


def test_answers_beside_structured_output_are_those_alone() -> None:
    """Through the whole refinement, where requests join and leave at their own times."""
    _, policy = make_policies("llama")
    plain, schema = (make_prompt(policy, question) for question in ASKED)
    tools = policy.prompt([{"role": "user", "content": "6 × 7"}], tools=[TOOL])
    prompts = [plain, replace(schema, grammar=make_grammar(policy, type="boolean")), tools]
    energy = make_energy(policy, [lambda _prompts, answers: [-float(answer.count("a")) for answer in answers]])
    energy = replace(energy, max_nll_rise=None, limits=None)
    options = {"energy": energy, "preset": SMALL_PRESET, "budget": Budget(max_time=None), "max_new_tokens": 32}
    together = refine(prompts, **options)
    alone = [refine([prompt], **options)[0] for prompt in prompts]
    assert [(found.draft, found.text) for found in together] == [(found.draft, found.text) for found in alone]
    assert all(found.failure is None for found in together)
    assert any(found.accepted for found in together)


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


def test_shares_at_once_are_those_of_the_rows() -> None:
    """With logits that are not finite, and a row of nothing else."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 40, generator=random) * 3
    logits[1, 3], logits[2, 4], logits[3] = torch.nan, torch.inf, -torch.inf
    disallowed = torch.rand(40, generator=random) < 0.2
    divisor = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 0.1])[:, None]
    shares, peak, likeliest = generation._compute_shares(logits, divisor, disallowed)
    at_once, same_peak, same_likeliest = generation._compute_shares_at_once(logits, divisor, disallowed)
    torch.testing.assert_close(at_once, shares / shares.sum(-1, keepdim=True).clamp(min=1e-30))
    torch.testing.assert_close(same_peak.clamp(min=-1e30), peak.clamp(min=-1e30))
    assert torch.equal(same_likeliest[peak > -1e30], likeliest[peak > -1e30])


PLACES = {
    "step": (StaticRunner, "run"),
    "cache": (DecodeArena, "get_batch"),
    "prompt": (StaticRunner, "_compute"),
    "prefix": (static_decode, "PackedSequence"),
    "copies": (static_decode, "_Parked"),
    "rows": (static_decode, "load_rows"),
    "slots": (static_decode.StaticDecoder, "_load_prompts"),
    "token": (LMHead, "narrow_logits"),
    "packed": (policy_forward, "sample_tokens"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_lack_of_memory_loses_no_token(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever memory runs out, the same step can be tried again, and what decoding held is free for it."""

    def write(fails_at: int | None) -> list[list[int]]:
        _, policy = make_policies("llama")
        first, last = (make_prompt(policy, question) for question in ASKED)
        states = [
            policy.start_generation(prompt, [[], [5, 6]], tokens=9, temperature=1.0, generators=rngs(2))
            for prompt in (first, policy.prompt_from_ids([7], ()), last)
        ]
        for number in range(40):
            if number == fails_at:
                with monkeypatch.context() as patched:
                    owner, name = PLACES[place]
                    patched.setattr(owner, name, _raise_out_of_memory)
                    with pytest.raises(torch.OutOfMemoryError):
                        policy.generate_step(states)
                decoder = policy._forward._decoder
                assert decoder is not None
                # where there is no memory for copies of what rows have written, all stays
                assert bool(decoder._arena.num_positions) == (place == "copies")
            policy.generate_step(states[: 2 + number])  # the last one joins after the first token
        return [ids for state in states for ids in state.written]

    assert write(None) == write(1)


def _raise_out_of_memory(*_args: object, **_kwargs: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


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
