"""Decoding with fixed shapes draws what rows draw one after another, whoever joins, leaves or lacks memory."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from architectures import tiny_model
from doubles import SMALL_PRESET
from slow_cases import first_fast
from static_cases import ASKED, CASES, GROWS, count_calls, make_policies, make_prompt, make_ragged, rngs

from langchain_sea import Budget, make_energy, refine
from langchain_sea.core.protocols import Steering
from langchain_sea.models import cuda_graphs, decode_batch, generation, policy_forward, static_decode
from langchain_sea.models.decode_arena import DecodeArena
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.lm_head import LMHead
from langchain_sea.models.static_forward import StaticRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.models.causal_lm import CausalLMPolicy


TOOL = {"type": "function", "function": {"name": "multiply", "parameters": {"type": "object", "properties": {}}}}


def make_grammar(policy: CausalLMPolicy, **value: object) -> JsonGrammar:
    schema = {"type": "object", "properties": {"a": value}, "required": ["a"], "additionalProperties": False}
    return JsonGrammar(schema, policy.tokenizer, policy.vocab_size, sorted(policy.end_ids))


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


@pytest.mark.parametrize("_prompts", ["copied", "shared"], indirect=True)
@pytest.mark.parametrize("seed", first_fast(range(8), 2))
@pytest.mark.usefixtures("_prompts")
def test_steps_that_are_begun_before_others_are_read_change_no_token(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever joins, pauses, ends or lacks memory meanwhile."""
    monkeypatch.setitem(static_decode._STEPS_BEGUN, "cpu", 4)
    written = []
    for policy in make_policies("llama"):
        rng = random.Random(seed)  # noqa: S311 - not for secrets
        states = [
            policy.start_generation(p, [[], [5]], tokens=rng.randint(2, 12), temperature=1.0, generators=rngs(2))
            for p in make_ragged(policy)[:5]
        ]
        for _ in range(12):
            turn = rng.sample(states, rng.randint(1, 5))
            if rng.random() < 0.2:
                with monkeypatch.context() as patched, suppress(torch.OutOfMemoryError):
                    patched.setattr(StaticRunner, "run", _raise_out_of_memory)
                    policy.generate_step(turn)
            for _ in range(rng.randint(1, 4)):
                policy.generate_step(turn)
        while any(state.num_unfinished for state in states):
            policy.generate_step(states)
        written.append([state.written for state in states])
    assert written[0] == written[1]


def test_few_steps_are_begun_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come wait for those that are under way; none is begun beyond the longest answer."""
    monkeypatch.setitem(static_decode._STEPS_BEGUN, "cpu", 4)
    steps = count_calls(monkeypatch, decode_batch.DecodeBatch, "step")
    _, policy = make_policies("llama")
    first, second = (
        policy.start_generation(make_prompt(policy, question), [[]], tokens=12, temperature=1.0, generators=rngs(1))
        for question in ASKED
    )
    policy.end_ids = frozenset()
    policy.generate_step([first])
    assert len(steps) == 4
    while first.num_unfinished or second.num_unfinished:
        policy.generate_step([first, second])
    assert [len(state.written[0]) for state in (first, second)] == [12, 12]
    assert len(steps) == 16


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
    assert [(result.draft, result.text) for result in together] == [(result.draft, result.text) for result in alone]
    assert all(result.failure is None for result in together)
    assert any(result.accepted for result in together)


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
