"""The tiny models that ship: they load, they read what they were trained on, and the expert solves sums."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_model import data, report, train
from tiny_model.problem import parse_tool_calls, tool_call_text
from tiny_model.sample import LONGEST, encode, prompt_text, sample, success
from tiny_model.template import CONTEXT
from tiny_model.tiers import load_tier
from tiny_model.tools import REFUSAL

from langchain_sea.models.tiny import TIERS, WEIGHTS, load

if TYPE_CHECKING:
    from pathlib import Path

KINDS = tuple(data.KINDS)
MEGABYTES = 12


@pytest.fixture(scope="module")
def expert():
    return load("expert")


def answered(problem):
    return [*problem.messages, {"role": "assistant", "content": problem.answer}]


@pytest.mark.parametrize("tier", report.TIERS)
def test_every_tier_loads_frozen_in_full_precision(tier):
    model, tokenizer = load_tier(tier)
    assert not model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_an_unknown_tier_is_refused_by_name():
    with pytest.raises(ValueError, match="early_30, early_03"):
        load("early_50")


def test_the_shipped_files_stay_small():
    assert report.megabytes() <= MEGABYTES
    assert {path.stem for path in WEIGHTS.glob("*.safetensors")} == set(TIERS)


@pytest.mark.parametrize("kind", KINDS)
def test_training_reads_what_the_template_renders(expert, kind):
    tokenizer = expert[1]
    for problem in itertools.islice(data.stream(kind, 5), 40):
        rendered = tokenizer.apply_chat_template(answered(problem), tools=problem.tools, tokenize=False)
        ids, start = encode(tokenizer, problem, problem.answer)
        assert rendered == prompt_text(tokenizer, problem) + problem.answer + tokenizer.eos_token + "\n"
        assert ids == tokenizer.encode(rendered.removesuffix("\n"), add_special_tokens=False)
        assert tokenizer.decode(ids[:start]).endswith("<|im_start|>assistant\n")
        assert len(ids) < CONTEXT


def test_a_structured_tool_call_renders_as_the_trained_text(expert):
    call = {"name": "get_weather", "arguments": {"city": "Αθήνα 🎉", "days": 3}}
    as_text = [{"role": "user", "content": "?"}, {"role": "assistant", "content": tool_call_text(call)}]
    for arguments in (call["arguments"], json.dumps(call["arguments"], ensure_ascii=False)):
        turn = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        structured = [as_text[0], {"role": "assistant", "content": None, "tool_calls": [turn]}]
        rendered = [expert[1].apply_chat_template(chat, tokenize=False) for chat in (as_text, structured)]
        assert rendered[0] == rendered[1]


def test_the_template_renders_every_role(expert):
    chat = [{"role": role, "content": role.upper()} for role in ("system", "user", "assistant", "tool")]
    tools = [{"type": "function", "function": {"name": "é"}}]
    text = expert[1].apply_chat_template(chat, tools=tools, tokenize=False, add_generation_prompt=True)
    system = f"SYSTEM\n\n# Tools\n{json.dumps(tools[0], ensure_ascii=False)}"
    turns = [("system", system), ("user", "USER"), ("assistant", "ASSISTANT"), ("tool", "TOOL")]
    rendered = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    assert text == f"{rendered}<|im_start|>assistant\n"


@pytest.mark.parametrize("text", ["naïve 🧑‍🚀 数 مرحبا\n\t ünï {'a': 1}", "\x00\ufeff", "1234567890"])
def test_the_tokenizer_loses_nothing(expert, text):
    tokenizer = expert[1]
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_digits_stand_alone(expert):
    assert len(expert[1].encode("1234567890", add_special_tokens=False)) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_generators_are_decided_by_their_seed(kind):
    first, again, other = (data.held_out(kind, 30, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    streams = [list(itertools.islice(data.stream(kind, seed), 30)) for seed in (1, 1, 2)]
    assert streams[0] == streams[1] != streams[2]


@pytest.mark.parametrize("kind", ["arithmetic", "tool"])
def test_training_and_held_out_problems_are_apart(kind):
    conversations = {str(problem.messages) for problem in itertools.islice(data.stream(kind, 1), 3000)}
    assert not conversations & {str(problem.messages) for problem in data.held_out(kind, 300, 1)}


def test_arithmetic_answers_pass_and_perturbed_ones_fail():
    rng = random.Random(3)  # noqa: S311 - not for secrets
    values = set()
    for problem in data.held_out("arithmetic", 500, 3):
        assert problem.check(problem.answer)
        assert not problem.check(report.near_miss(problem, rng))
        assert not problem.check("")
        for a, symbol, b, result in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)\.", problem.answer):
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[symbol] == int(result)
        values.add(problem.value)
    assert len(values) > 200


def test_tool_answers_pass_and_others_fail():
    problems = data.held_out("tool", 200, 4)
    calls = [problem for problem in problems if isinstance(problem, data.ToolProblem)]
    assert all(problem.check(problem.answer) for problem in problems)
    assert not any(problem.check(problem.answer + problem.answer) for problem in problems)
    assert not any(problem.check(REFUSAL) for problem in calls)
    assert any(problem.answer == REFUSAL for problem in problems)
    assert 100 < len(calls) < 200


def test_a_broken_call_is_none():
    assert parse_tool_calls("<tool_call>\n{no\n</tool_call>") == [None]


def test_the_expert_solves_most_sums(expert):
    problems = data.held_out("arithmetic", 32, "test")
    answers = sample(*expert, problems, seed=0, longest=LONGEST["arithmetic"], greedy=True)
    assert success(problems, answers) >= 24 / 32


def test_samples_repeat_by_seed_and_leave_the_generator_alone():
    model, tokenizer = load("early_30")
    problems = data.held_out("arithmetic", 8, "test")
    before = torch.get_rng_state()
    first, again, other = (sample(model, tokenizer, problems, seed=seed, longest=12) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_likelihoods_do_not_depend_on_the_batch(expert):
    problems = data.held_out("arithmetic", 6, "test")
    answers = [problem.answer for problem in problems]
    together = report.log_likelihoods(*expert, problems, answers)
    alone = torch.cat([report.log_likelihoods(*expert, [p], [p.answer]) for p in problems])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_the_report_has_its_keys(tmp_path: Path, capsys):
    path = tmp_path / "report.json"
    report.main(["--prompts", "6", "--seed", "1", "--json", str(path)])
    figures = json.loads(path.read_text())
    keys = {"pairwise_accuracy", "tool_calls", "polite", "prompts", "seed", "seconds", "megabytes"}
    assert set(figures) >= keys | set(TIERS)
    assert all(0 <= figures[key] <= 1 for key in (*TIERS, "pairwise_accuracy", "tool_calls", "polite"))
    assert json.loads(capsys.readouterr().out) == figures


SMALL = {"arithmetic": 2, "tool": 1, "polite": 1}


def test_batches_resume_where_they_were(expert):
    whole = list(itertools.islice(train.batches(expert[1], SMALL, 0, 14), 3))
    assert next(train.batches(expert[1], SMALL, 0, 16)) == whole[2]


@pytest.mark.slow
def test_batches_written_ahead_are_the_same(expert):
    alone = list(itertools.islice(train.batches(expert[1], SMALL, 0, 14), 20))
    batches = train.batches(expert[1], SMALL, 0, 14, workers=1)
    assert list(itertools.islice(batches, 20)) == alone
    batches.close()


def test_training_stops_and_resumes(tmp_path: Path, expert, monkeypatch):
    halves = [train.Phase(until, SMALL, 2.5e-3, muon=muon) for until, muon in ((0.5, False), (1.0, True))]
    monkeypatch.setattr(train, "PHASES", tuple(halves))
    run = train.Run(*train.build(0), tmp_path, seed=0)
    train.train(run, expert[1], minutes=0.005)
    again = train.Run(*train.build(1), tmp_path, seed=0)
    again.resume()
    assert again.step == run.step > 0
    assert again.phase == run.phase
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])


def test_training_goes_on_from_weights(tmp_path: Path):
    run = train.Run(*train.build(0), tmp_path, seed=0)
    run.go_on_from(WEIGHTS / "early_30.safetensors", limit=60.0)
    assert run.enter(run.seconds / 60) is train.PHASES[-1]
    early = load("early_30")[0].state_dict()
    assert all(torch.equal(value, early[key]) for key, value in run.model.state_dict().items())
