"""Training files, states read in part and kept on disk, and heads that learn what can be learned."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from architectures import ARCHITECTURES, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import first_fast

from langchain_sea.cli import main
from langchain_sea.core.protocols import Tokens
from langchain_sea.models import loading
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.models.loading import Loaded
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward, compute_states
from langchain_sea.training import features as features_module
from langchain_sea.training import fit_head as fit_head_module
from langchain_sea.training.examples import DataError, Example, drop_blank_answers, read_examples, sample_examples
from langchain_sea.training.features import CUTS, Pooling, pool_answers
from langchain_sea.training.fit_head import Recipe, fit_head
from langchain_sea.training.metrics import auc, collect_data

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = ({"role": "user", "content": "what is two and three?"},)
GOOD, BAD = "answer reward judges five policy", "import return def dog cat"
FAST = Recipe(epochs=20, seeds=1, batch=32, weight_decay=0.1)


@cache
def policy(name: str = "llama") -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model(name), tiny_tokenizer())


def separable(prompts: int = 40, *, paired: bool = False) -> list[Example]:
    """Good and bad answers use different words."""
    rng, found = random.Random(0), []  # noqa: S311 - no secrets
    for number in range(prompts):
        messages = ({"role": "user", "content": f"question {number}"},)
        for label, words in ((1.0, GOOD), (0.0, BAD)):
            answer = " ".join(rng.choices(words.split(), k=rng.randint(2, 6)))
            split = "test" if number % 5 == 0 else "train"
            pair = number if paired else None
            found.append(Example(messages=messages, answer=answer, label=label, split=split, pair=pair))
    return found


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["answer", "completion", "response"])
def test_scored_answers_are_read(tmp_path: Path, name: str) -> None:
    """Under any of three names, with text or messages before them, and blank lines between."""
    rows = [
        {"prompt": "q", name: "a", "label": 1, "split": "head"},
        "",
        {"prompt": list(QUESTION), name: "b", "label": 0.25, "whole": True},
    ]
    first, second = read_examples(write(tmp_path / "d", *rows))
    assert first == Example(messages=({"role": "user", "content": "q"},), answer="a", label=1.0, split="head")
    assert (second.messages, second.label, second.pair) == (QUESTION, 0.25, None)
    assert (first.whole, second.whole) == (False, True)


def test_an_opening_is_no_part_of_the_answer_and_parts_conversations(tmp_path: Path) -> None:
    """What the assistant had said stands before the answer: states are those of prompt and opening."""
    row = {"prompt": "q", "answer": " five dog", "label": 1}
    plain, opened = read_examples(write(tmp_path / "d", row, row | {"opening": "return"}))
    assert (plain.opening, opened.opening, opened.answer) == ("", "return", plain.answer)
    assert plain.key != opened.key
    assert plain.split == opened.split
    found = pool_answers([plain, opened], policy(), Pooling(2))
    prompt = policy().prompt(opened.messages, opening="return")
    ids = policy().encode(opened.answer)
    wanted = compute_states(policy(), prompt, Tokens.from_ids([ids]), 2).mean(1)
    torch.testing.assert_close(found[1, -1, 32:], wanted[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[0, -1], found[1, -1], atol=1e-3)


def test_pairs_of_every_form_are_read_alike(tmp_path: Path) -> None:
    """TRL's with and without a prompt, as strings and as messages, and HH's dialogues."""
    said = [{"role": "assistant", "content": word} for word in ("yes", "no")]
    rows = [
        {"prompt": "q", "chosen": "yes", "rejected": "no"},
        {"prompt": [{"role": "user", "content": "q"}], "chosen": said[:1], "rejected": said[1:]},
        {
            "chosen": [{"role": "user", "content": "q"}, said[0]],
            "rejected": [{"role": "user", "content": "q"}, said[1]],
        },
        {"chosen": "\n\nHuman: q\n\nAssistant: yes", "rejected": "\n\nHuman: q\n\nAssistant: no"},
    ]
    found = read_examples(write(tmp_path / "d", *rows))
    assert [(e.messages[0]["content"], e.answer, e.label) for e in found] == [("q", "yes", 1.0), ("q", "no", 0.0)] * 4
    assert [e.pair for e in found] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len({e.split for e in found}) == 1


def test_a_dialogues_prompt_is_all_but_the_last_answer(tmp_path: Path) -> None:
    """Turns before it stay, with their roles."""
    begun = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    (chosen, _) = read_examples(write(tmp_path / "d", {"chosen": f"{begun} d", "rejected": f"{begun} e"}))
    assert [(m["role"], m["content"]) for m in chosen.messages] == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert chosen.answer == "d"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ({"prompt": "q"}, r"\['prompt'\]"),
        ({"answer": "a", "label": 1}, "not those of a known form"),
        ({"prompt": "q", "answer": "a"}, '"label" is None'),
        ({"prompt": "q", "answer": "a", "label": 2}, '"label" is 2'),
        ({"prompt": "q", "answer": "a", "label": 1, "opening": 3}, '"opening" is 3'),
        ({"prompt": "q", "answer": 5, "label": 1}, "neither text"),
        ({"prompt": " ", "answer": "a", "label": 1}, "neither text"),
        ({"prompt": "q", "answer": list(QUESTION), "label": 1}, "not one assistant message"),
        ({"prompt": "q", "chosen": "a"}, "neither text"),
        ({"chosen": "a", "rejected": "b"}, "not with 'Human: '"),
        ({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}, "end with an assistant turn"),
        ({"chosen": "Human: a\n\nAssistant: b", "rejected": "Human: c\n\nAssistant: d"}, "differ before"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named_with_the_forms_accepted(tmp_path: Path, row: Any, words: str) -> None:
    """File, line, what is wrong, what would be right."""
    path = write(tmp_path / "data.jsonl", {"prompt": "q", "answer": "a", "label": 1}, row)
    with pytest.raises(DataError, match=rf"data\.jsonl, line 2: .*{words}.*Each line is one of"):
        read_examples(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """It holds no examples."""
    with pytest.raises(DataError, match="no examples"):
        read_examples(write(tmp_path / "d", ""))


def test_a_split_by_prompt_is_stable_and_near_its_share(tmp_path: Path) -> None:
    """Rows of one prompt stay together, whatever their order."""
    rows = [{"prompt": f"question {n % 400}", "answer": str(n), "label": n % 2} for n in range(800)]
    splits = {e.key: e.split for e in read_examples(write(tmp_path / "a", *rows))}
    again = read_examples(write(tmp_path / "b", *rows[::-1]))
    assert all(splits[e.key] == e.split for e in again)
    assert 0.10 < sum(split == "heldout" for split in splits.values()) / 400 < 0.20


def test_blank_answers_go_with_their_pair() -> None:
    """Neither half of a pair stands alone."""
    blank = Example(messages=QUESTION, answer=" ", label=1, pair=1)
    other = Example(messages=QUESTION, answer="a", label=0, pair=1)
    kept = Example(messages=QUESTION, answer="a", label=0)
    assert drop_blank_answers([blank, other, kept]) == [kept]


@settings(max_examples=25)
@given(limit=st.integers(0, 90), seed=st.integers(0, 9), paired=st.booleans())
def test_a_limit_keeps_order_and_pairs(limit: int, seed: int, paired: bool) -> None:  # noqa: FBT001 - hypothesis names it
    """At most so many, and the larger choice holds the smaller."""
    examples = separable(40, paired=paired)
    chosen = sample_examples(examples, limit, seed)
    assert len(chosen) <= limit
    assert len(chosen) >= min(limit, 80) - 1
    assert [e for e in examples if e in chosen] == chosen
    assert not paired or len({e.pair for e in chosen}) * 2 == len(chosen)
    assert all(e in sample_examples(examples, limit + 10, seed) for e in chosen)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_stopping_early_changes_no_state(name: str, layer: int) -> None:
    """The states are those of the whole forward, and the model is left without a hook."""
    tokens = Tokens.from_ids([[40, 50, 60], [70]])
    prompt = policy(name).prompt(QUESTION)
    expected = policy(name).forward(prompt, tokens)
    assert torch.equal(compute_states(policy(name), prompt, tokens, layer), expected.hidden[layer])
    assert torch.equal(policy(name).forward(prompt, tokens).logits, expected.logits)


def test_layers_above_are_not_computed() -> None:
    """That is what stopping is for."""
    reached, own = [], CausalLMPolicy(tiny_model("llama"), tiny_tokenizer())
    own.model.base_model.layers[2].register_forward_hook(lambda *_: reached.append(1))  # before it is read by
    compute_states(own, own.prompt(QUESTION), Tokens.from_ids([[40]]), 1)
    assert len(reached) == 1  # the prompt's own reading


def test_features_are_the_means_at_every_cut() -> None:
    """Whichever rows stand beside an answer, and however short it is."""
    long, short = "the policy writes an answer and the reward judges the answer", "five"
    examples = [Example(messages=QUESTION, answer=answer, label=1) for answer in (long, short)]
    found = pool_answers(examples, policy(), Pooling(2))
    for row, answer in enumerate((long, short)):
        ids = policy().encode(answer)
        hidden = policy().forward(policy().prompt(QUESTION), Tokens.from_ids([ids])).hidden[2][0]
        for column, cut in enumerate([*CUTS, len(ids)]):
            end = min(cut, len(ids))
            means = torch.cat([hidden[: min(8, end)].mean(0), hidden[:end].mean(0)])
            torch.testing.assert_close(found[row, column], means, rtol=1e-4, atol=1e-4)


def test_a_run_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on disk is not computed again; another layer or text is."""
    monkeypatch.setattr(features_module, "_SHARD", 8)
    examples = separable(12)
    first = pool_answers(examples, policy(), Pooling(2), tmp_path)
    shards = sorted(tmp_path.rglob("*.safetensors"))
    assert len(shards) == 3
    shards[1].unlink()
    calls = []
    monkeypatch.setattr(features_module, "_read", lambda *args, f=features_module._read: calls.append(1) or f(*args))
    assert torch.equal(pool_answers(examples, policy(), Pooling(2), tmp_path), first)
    assert len(calls) == 4
    pool_answers(examples, policy(), Pooling(1), tmp_path)
    assert len(calls) == 4 + 12
    assert not list(tmp_path.rglob("*.[0-9]*"))


def test_a_fine_tuned_policy_has_states_of_its_own(tmp_path: Path) -> None:
    """Its embeddings may be those of its base, which an adapter leaves as they are."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:, :4] += 0.5
    tuned, examples = CausalLMPolicy(model, tiny_tokenizer()), separable(3)
    pool_answers(examples, policy(), Pooling(2), tmp_path)
    states = pool_answers(examples, tuned, Pooling(2), tmp_path)
    assert torch.equal(states, pool_answers(examples, tuned, Pooling(2)))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_long_prompts_and_answers_do_not_end_a_fit(name: str) -> None:
    """A prompt that fills the context is left out, and an answer is read as far as the context goes."""
    long = [replace(e, answer=f"{e.answer} {'z ' * 200}") for e in separable(40)]
    too_long = replace(long[2], messages=({"role": "user", "content": "z " * 200},))
    lines: list[str] = []
    figures = fit_head([*long, too_long], policy(name), replace(FAST, epochs=1), report=lines.append).figures
    assert figures["learned"]["answers"] == 64
    assert any("left out 1 answer:" in line for line in lines)


def test_labels_of_whole_answers_alone_are_learned() -> None:
    """There is nothing to choose the epoch by at the beginnings, and the ends do."""
    _, figures = fit_head([replace(e, whole=True) for e in separable(150)], policy(), FAST)
    assert figures["epoch"] > 0
    assert figures["held_out"]["auc"]["whole"] > 0.9


def test_auc_is_the_share_of_pairs_in_order() -> None:
    """Ties count half; one kind alone has none."""
    values, labels = torch.randint(0, 6, (50,)).float(), torch.randint(0, 2, (50,)).float()
    good, bad = values[labels == 1], values[labels == 0]
    wins = (good[:, None] > bad).float() + 0.5 * (good[:, None] == bad).float()
    assert auc(values, labels) == pytest.approx(wins.mean().item())
    assert math.isnan(auc(values, torch.ones(50)))


@pytest.mark.parametrize(("paired", "figure"), first_fast([(False, "auc"), (True, "pair_accuracy")]))
def test_what_can_be_learned_is_learned(paired: bool, figure: str) -> None:  # noqa: FBT001 - parametrised
    """Of answers in different words, held-out prompts are told apart; layer and sizes are kept."""
    head, figures = fit_head(separable(150, paired=paired), policy(), FAST, name="tiny")
    assert figures["held_out"][figure]["whole"] > 0.95
    assert figures["learned"] == {"answers": 240, "prompts": 120}
    assert (head.info.policy, head.info.layer, head.info.hidden_size) == ("tiny", 2, 32)
    assert head.info.scale > 0
    assert json.loads(json.dumps(figures)) == head.info.figures


def test_labels_of_the_whole_teach_nothing_of_beginnings() -> None:
    """Where only ends are labelled, what stands before the end has no gradient; each answer counts alike."""
    data = collect_data(torch.randn(4, 5, 64), [replace(e, whole=n > 1) for n, e in enumerate(separable(2))])
    head = HiddenStateHead(HeadInfo(policy="tiny", layer=2, hidden_size=32)).eval()
    inputs = data.features.requires_grad_()
    fit_head_module._loss(head, data, data.units).backward()
    reached = inputs.grad.abs().sum(-1) > 0
    assert reached.tolist() == [[True] * 5] * 2 + [[False] * 4 + [True]] * 2
    assert data.without_whole.units[:, 0].tolist() == [0, 1]


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator() -> None:
    """Randomness is the recipe's own."""
    before = torch.random.get_rng_state()
    first, again = (fit_head(separable(), policy(), replace(FAST, epochs=3)).head for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("examples", "words"), [(separable(1), "nothing to train"), (separable(2), "too few")])
def test_too_little_data_is_refused(examples: list[Example], words: str) -> None:
    """Rather than a head that learned nothing."""
    with pytest.raises(DataError, match=words):
        fit_head(examples, policy(), FAST)


def test_the_command_writes_a_head_and_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file to a reward."""
    monkeypatch.setattr(loading, "load", lambda name, **_: Loaded(name, policy().model, policy().tokenizer))
    rows = [
        {"prompt": e.messages[0]["content"], "answer": e.answer, "label": e.label, "split": e.split}
        for e in separable()
    ]
    data, out = write(tmp_path / "d", *rows), tmp_path / "head.safetensors"
    options = [
        "fit-reward",
        str(data),
        "--model",
        "tiny",
        "--out",
        str(out),
        "--limit",
        "60",
        "--json",
        str(tmp_path / "j"),
    ]
    assert main(options) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((tmp_path / "j").read_text()) == HiddenStateHead.load(out).info.figures
    assert figures["learned"]["answers"] == 60
    assert HiddenStateReward(HiddenStateHead.load(out)).head.info.policy == "tiny"
    data.write_text("{")
    assert main(options) == 2
    assert "line 1" in capsys.readouterr().err
