"""Every kind of causal model is drafted, steered and refined as its own forward function computes it."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from architectures import ALL_ARCHITECTURES, tiny_model, tiny_tokenizer
from slow_cases import make_slow, named_fast
from transformers import AutoConfig, AutoModelForCausalLM

from langchain_sea import Budget, SEAChatModel, errors
from langchain_sea.core.protocols import ForwardRequest, OutputSpec, Steering, Tokens
from langchain_sea.models import runner
from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.kv_cache import GrowingKVCache, PackedSequence
from langchain_sea.models.runner import PACKED_TYPES, make_runner
from langchain_sea.models.static_attention import attend_static
from langchain_sea.models.static_forward import StaticPass, StaticRunner
from langchain_sea.models.whole_forward import WholeSequenceRunner
from langchain_sea.plans import SearchPlan

PROMPTS = ([5, 60, 7, 80, 9, 100, 11, 120, 13, 140, 15], [33, 44, 55, 66])
ANSWERS = (
    ([40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150], [33, 44, 55]),
    ([200], [70, 60, 50, 40, 31], [91, 92]),
)
HYBRID = {
    "bamba",
    "bloom",
    "falcon_h1",
    "granitemoehybrid",
    "jamba",
    "lfm2",
    "mamba",
    "mamba2",
    "phimoe",
    "qwen3_next",
    "recurrent_gemma",
}
REREADS = {"recurrent_gemma"}  # its cache cannot drop rows
LAYER = 1
# attention of the usual kind, with windows, of latents and with sinks; states, both kinds, and no cache to go on from
FAST = ("llama", "gemma3", "deepseek_v3", "gpt_oss", "mamba2", "jamba", "recurrent_gemma")
every_architecture = pytest.mark.parametrize("name", named_fast(ALL_ARCHITECTURES, FAST))


@cache
def policy(name):
    return CausalLMPolicy(tiny_model(name), tiny_tokenizer())


def prompts(subject):
    return [subject.prompt_from_ids(ids, []) for ids in PROMPTS]


def plain(subject, ids, *, vectors=None, start=0):
    """Logits of (1, N) ids and the input of the last layer, by the model itself; steered at a layer from `start`."""
    seen = {}

    def steer(_module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        if vectors is None:
            return None
        states = torch.cat([states[:, :start], states[:, start:] + vectors], 1)
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    def record(_module, args, kwargs):
        seen["input"] = args[0] if args else kwargs["hidden_states"]

    base = subject.model.base_model
    layers = next(m for m in base.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)
    hooks = [layers[i].register_forward_pre_hook(hook, with_kwargs=True) for i, hook in ((LAYER, steer), (2, record))]
    try:
        return subject.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0], seen["input"][0]
    finally:
        for hook in hooks:
            hook.remove()


def latents(rows, seed=0):
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(seed))


@every_architecture
def test_it_gets_the_runner_that_equals_its_forward_function(name):
    runner = make_runner(tiny_model(name))
    assert isinstance(runner, WholeSequenceRunner if name in HYBRID else ModelRunner)
    assert runner.num_layers == 3
    if name in HYBRID:
        assert runner._goes_on_from_cache == (name not in REREADS)


def test_the_listed_types_are_tested():
    tested = {tiny_model(name).config.model_type for name in ALL_ARCHITECTURES if name not in HYBRID}
    assert tested >= PACKED_TYPES


@every_architecture
@torch.no_grad()
def test_log_probs_are_those_of_the_forward_function(name):
    """Of two prompts in one pass, with answers of different length."""
    subject = policy(name)
    read = prompts(subject)
    tokens = [Tokens.from_ids(answers) for answers in ANSWERS]
    outputs = subject.forward_all([ForwardRequest(*pair) for pair in zip(read, tokens, strict=True)])
    for ids, answers, output, some in zip(PROMPTS, ANSWERS, outputs, tokens, strict=True):
        log_probs = output.log_probs(some)
        for row, answer in enumerate(answers):
            logits, last_input = plain(subject, [*ids, *answer])
            expected = logits.log_softmax(-1)[len(ids) - 1 : -1].gather(-1, torch.tensor(answer)[:, None])[:, 0]
            assert (log_probs[row, : len(answer)] - expected).abs().max() <= 1e-4
            torch.testing.assert_close(output.hidden[2][row, : len(answer)], last_input[len(ids) :], rtol=0, atol=1e-4)


@every_architecture
@torch.no_grad()
def test_an_answer_after_what_stands_is_that_of_the_forward_function(name):
    subject = policy(name)
    output_spec = OutputSpec(frozenset({2}), logits=True)
    prompt = subject.prefill(prompts(subject)[0], [40, 50, 60], output_spec)
    answer = [40, 50, 60, 70, 80]
    output = subject.forward(prompt, Tokens.from_ids([answer]), output_spec)
    logits, last_input = plain(subject, [*PROMPTS[0], *answer])
    expected = logits.log_softmax(-1)[len(PROMPTS[0]) - 1 : -1].gather(-1, torch.tensor(answer)[:, None])[:, 0]
    torch.testing.assert_close(output.log_probs(Tokens.from_ids([answer]))[0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(output.hidden[2][0], last_input[len(PROMPTS[0]) :], rtol=0, atol=1e-4)


@every_architecture
@torch.no_grad()
def test_greedy_answers_are_those_of_the_forward_function(name):
    """From a prompt alone and after prefixes of two lengths, steered and not; past the sliding windows."""
    subject = policy(name)
    prompt, prefixes = prompts(subject)[0], [[], [40, 50], [60, 70]]
    for vectors in (None, latents(3)):
        steering = None if vectors is None else Steering(LAYER, vectors)
        options = {"tokens": 6, "temperature": 0, "generators": [], "steering": steering}
        for row, (prefix, written) in enumerate(
            zip(prefixes, subject.generate(prompt, prefixes, **options), strict=True)
        ):
            ids = [*prompt.ids, *prefix]
            vector = None if vectors is None else vectors[row]
            logits, _ = plain(subject, [*ids, *written], vectors=vector, start=len(prompt.ids) - 1)
            likeliest = logits.masked_fill(subject._disallowed, -torch.inf).argmax(-1)[len(ids) - 1 :].tolist()
            assert likeliest[: len(written)] == written
            assert len(written) == 6 or likeliest[-1] in subject.end_ids


@every_architecture
def test_steering_is_added_and_has_the_gradient_of_the_forward_function(name):
    subject = policy(name)
    prompt, answers = prompts(subject)[0], ANSWERS[0]
    tokens, vectors = Tokens.from_ids(answers), latents(2).requires_grad_()
    request = ForwardRequest(prompt, tokens, steering=Steering(LAYER, vectors))
    (output,) = subject.forward_all([request])
    start = len(prompt.ids) - 1
    expected = []
    for row, answer in enumerate(answers):
        logits, last_input = plain(subject, [*prompt.ids, *answer], vectors=vectors[row], start=start)
        torch.testing.assert_close(output.hidden[2][row, : len(answer)], last_input[start + 1 :], rtol=0, atol=1e-4)
        expected.append(logits.log_softmax(-1)[start:-1].gather(-1, torch.tensor(answer)[:, None])[:, 0])
    log_probs = output.log_probs(tokens)
    for row, one in enumerate(expected):
        torch.testing.assert_close(log_probs[row, : len(one)], one, rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad((log_probs * tokens.mask).sum(), vectors)
    (plain_gradient,) = torch.autograd.grad(torch.cat(expected).sum(), vectors)
    scale = float(plain_gradient.abs().max())
    assert scale > 0
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-3, atol=1e-4 * scale)


REFINED = ("deepseek_v3", "gpt_oss", "qwen3_moe", "bloom", "falcon_h1", "jamba", "lfm2", "mamba2", "qwen3_next")


def letters(_prompts, completions):
    return [sum(map(str.isalpha, text)) / (1 + len(text)) for text in completions]


@pytest.mark.parametrize("name", named_fast(REFINED, {"deepseek_v3", "mamba2"}))
def test_it_is_refined(name):
    """By the default preset and a plain function; the answer is never worse than the draft, and the same again."""
    plan = SearchPlan(groups=2, rows=4, rounds=2, tokens=4, kept=2)
    options = {"model": policy(name), "rewards": [letters], "plan": plan, "budget": Budget(max_time=None)}
    first, again = (SEAChatModel(**options, max_tokens=6, seed=0).invoke("what?") for _ in range(2))
    metadata = first.response_metadata["sea"]
    assert first.content == again.content
    assert metadata["failure"] is None
    assert metadata["evaluations"] >= 17
    assert metadata["score_after"] >= metadata["score_before"]
    assert metadata["accepted"] == (metadata["score_after"] > metadata["score_before"])


# The model's own cache


@torch.no_grad()
def test_a_step_that_failed_can_be_repeated_and_rows_can_go():
    """The embeddings are kept, so that a cache of the model can be lost at any time."""
    runner = make_runner(tiny_model("qwen3_next"))
    rows = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(0))
    (whole,) = runner.forward([PackedSequence(rows)])
    kept = GrowingKVCache(3, 6)
    runner.forward([PackedSequence(rows[:, :3], cache=kept)])
    kept.advance(3)
    for _ in range(2):
        (step,) = runner.forward([PackedSequence(rows[:, 3:4], cache=kept)])
        torch.testing.assert_close(step.last, whole.last[:, 3:4], rtol=0, atol=1e-5)
    kept.select_rows(torch.tensor([0, 2]))
    kept.advance(1)
    (step,) = runner.forward([PackedSequence(rows[[0, 2], 4:5], cache=kept)])
    torch.testing.assert_close(step.last, whole.last[[0, 2], 4:5], rtol=0, atol=1e-5)
    kept.advance(1)
    kept.model_cache = None
    (step,) = runner.forward([PackedSequence(rows[[0, 2], 5:], cache=kept)])
    torch.testing.assert_close(step.last, whole.last[[0, 2], 5:], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_pass_that_is_asked_for_lower_layers_alone_ends_there():
    runner = make_runner(tiny_model("mamba2"))
    rows = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    (whole,) = runner.forward([PackedSequence(rows)], layers=[0, 1, 3])
    (low,) = runner.forward([PackedSequence(rows)], layers=[1], last=False)
    assert low.last is None
    assert torch.equal(low.hidden[1], whole.hidden[1])
    assert torch.equal(whole.hidden[0], rows)
    assert torch.equal(whole.hidden[3], whole.last)


def test_a_model_that_is_run_whole_is_not_changed():
    model = tiny_model("jamba")
    before = copy.deepcopy(model.state_dict())
    subject = CausalLMPolicy(model, tiny_tokenizer())
    subject.generate(prompts(subject)[0], [[], [5]], tokens=3, temperature=0, generators=[])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", named_fast(["granitemoe", "jamba", "mamba2", "qwen3_next"], {"granitemoe", "mamba2"}))
def test_half_precision_gets_the_same_runner(name):
    runner, half = (make_runner(tiny_model(name, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16))
    assert type(half) is type(runner)
    assert not isinstance(half, WholeSequenceRunner) or half._goes_on_from_cache
    (output,) = half.forward([PackedSequence(torch.randn(1, 4, 32).bfloat16())])
    assert output.last.dtype == torch.bfloat16


UNKNOWN = [name for name in ALL_ARCHITECTURES if name not in HYBRID | PACKED_TYPES | {"gemma3"}]  # gemma3_text


@pytest.mark.parametrize("dtype", [torch.float32, make_slow(torch.bfloat16)])
@pytest.mark.parametrize("name", named_fast(UNKNOWN, {"granitemoe"}))
def test_an_unknown_type_is_compared_in_the_runner_that_a_gpu_gets(monkeypatch, name, dtype):
    monkeypatch.setattr(runner, "_is_on_one_gpu", lambda _model: True)
    model = tiny_model(name, dtype=dtype)
    assert type(make_runner(model)) is StaticRunner

    def ignore_prompts(own_pass, _layer, query, key, value, spec):
        return attend_static(query, (key, value), None, own_pass.positions, spec)

    monkeypatch.setattr(StaticPass, "attend", ignore_prompts)
    assert type(make_runner(model)) is ModelRunner  # which is right


# What cannot be run


def test_a_model_without_layers_is_refused():
    model = tiny_model("mamba")
    model.backbone.layers = torch.nn.Sequential(*model.backbone.layers)
    with pytest.raises(errors.ArchitectureError, match="no list of 3 layers"):
        make_runner(model)


def test_a_model_that_looks_ahead_is_refused():
    config = AutoConfig.for_model("bert", vocab_size=320, hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
    with pytest.raises(errors.ArchitectureError, match="not a causal model"):
        make_runner(AutoModelForCausalLM.from_config(config).eval())


def test_a_model_that_changes_its_logits_in_another_way_is_refused():
    subject = CausalLMPolicy(tiny_model("granitemoe"), tiny_tokenizer())
    subject.model.lm_head.register_forward_hook(lambda _module, _args, logits: logits + torch.arange(320))
    with pytest.raises(errors.ArchitectureError, match="computes its logits"):
        _ = subject.num_layers


def test_a_model_whose_own_forward_function_fails_is_refused():
    subject = CausalLMPolicy(tiny_model("granitemoe"), tiny_tokenizer())

    def fail(_module, _args):
        raise TypeError("no such kernel")

    subject.model.register_forward_pre_hook(fail)
    with pytest.raises(errors.ArchitectureError, match="no such kernel"):
        _ = subject.num_layers


def test_a_model_with_several_states_for_each_token_is_refused():
    config = AutoConfig.for_model(
        *("gemma3n_text",),
        vocab_size=320,
        vocab_size_per_layer_input=320,
        hidden_size=32,
        hidden_size_per_layer_input=8,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        num_kv_shared_layers=2,
        laurel_rank=4,
        altup_num_inputs=2,
        pad_token_id=0,
    )
    with pytest.raises(errors.ArchitectureError, match="one state for each"):
        make_runner(AutoModelForCausalLM.from_config(config).eval())


# Positions that depend on the length

ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}


@cache
def longrope_policy(boundary):
    sizes = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "pad_token_id": 0}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": 2}
    rope = {**ROPE, "original_max_position_embeddings": boundary}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "phi3", **sizes, original_max_position_embeddings=boundary, rope_parameters=rope, bos_token_id=1
    )
    return CausalLMPolicy(AutoModelForCausalLM.from_config(config).eval().requires_grad_(False), tiny_tokenizer())


@pytest.mark.parametrize("boundary", named_fast(range(8, 26), {13, 14, 15, 19, 20}))
@torch.no_grad()
def test_answers_around_a_boundary_are_read_right_or_refused(boundary):
    """The prompt below, at and above it; nothing is written across it."""
    subject, ids, answer = longrope_policy(boundary), list(range(5, 20)), [40, 50, 60, 70, 80]
    if len(ids) == boundary + 1:
        with pytest.raises(errors.PromptTooLongError, match=str(boundary)):
            subject.prompt_from_ids(ids, [])
        return
    prompt = subject.prompt_from_ids(ids, [])
    written = subject.generate(prompt, [[]], tokens=20, temperature=1.0, generators=[torch.Generator().manual_seed(0)])
    assert len(ids) > boundary or len(ids) + len(written[0]) <= boundary
    tokens = Tokens.from_ids([answer])
    if len(ids) <= boundary < len(ids) + len(answer):
        with pytest.raises(errors.ArchitectureError, match="longrope"):
            subject.forward(prompt, tokens)
        return
    logits = subject.model(torch.tensor([[*ids, *answer]])).logits[0]
    expected = logits.log_softmax(-1)[len(ids) - 1 : -1].gather(-1, torch.tensor(answer)[:, None])[:, 0]
    torch.testing.assert_close(subject.forward(prompt, tokens).log_probs(tokens)[0], expected, rtol=0, atol=1e-4)
