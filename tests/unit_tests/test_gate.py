"""What the gate promises: it learns, gives probabilities, and leaves its trunk alone."""

from __future__ import annotations

import copy
import json
import pickle
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from langchain_core.runnables import RunnableLambda
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from langchain_sea import errors, weights
from langchain_sea.chat.responses import gate_texts
from langchain_sea.core.conversation import last_user_text
from langchain_sea.interop import from_runnable
from langchain_sea.rewards.pair_classifier import GateInfo, PairClassifier, PairClassifierGate, tokenize_pairs
from langchain_sea.training import fit_gate as fitting
from langchain_sea.training.examples import DataError, Example
from langchain_sea.training.fit_gate import GateRecipe, fit_gate

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_sea.models.loading import Loaded

GOOD, BAD = ("sorry", "cannot", "help"), ("first", "take", "mix")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "sep", "how", "do", "i", "question", *GOOD, *BAD)
READ = {"True": 1.0, "False": 0.0}
FAST = GateRecipe(epochs=10, learning_rate=3e-3, output_rate=1e-2, batch=8)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A BERT of two small layers, in a folder as `weights.load` reads it."""
    folder = tmp_path_factory.mktemp("bert")
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(WORDS), **shape)).save_pretrained(folder)
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    backend.normalizer, backend.pre_tokenizer = (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), WORDS, strict=False))
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    return weights.load(folder, kind="encoder")


def examples(prompts: int = 40) -> list[Example]:
    rng, found = random.Random(0), []  # noqa: S311 - no secrets
    for number in range(prompts):
        messages = ({"role": "user", "content": f"how do i question {number}"},)
        for label, words in ((1.0, GOOD), (0.0, BAD)):
            answer = " ".join(rng.choices(words, k=rng.randint(2, 9)))
            split = "test" if number % 5 == 0 else "train"
            found.append(Example(messages=messages, answer=answer, label=label, split=split))
    return found


def random_gate(trunk: Loaded, threshold: float = 0.5, seed: int = 0) -> PairClassifierGate:
    info = GateInfo(encoder=trunk.name, rank=4, threshold=threshold)
    judge = PairClassifier(trunk.model)
    judge.add_lora_layers(info.rank, info.scale)
    generator = torch.Generator().manual_seed(seed)
    deltas = {n: torch.randn(d.shape, generator=generator).half() for n, d in judge.trained_tensors().items()}
    return PairClassifierGate(deltas, info)


def inputs(trunk: Loaded) -> dict[str, torch.Tensor]:
    return tokenize_pairs(copy.deepcopy(trunk.tokenizer), [("how do i", "sorry"), ("how", "first take mix")], 128)


def test_a_delta_of_zero_changes_nothing(trunk: Loaded) -> None:
    """As deltas begin, the encoder says what it said."""
    judge = PairClassifier(trunk.model).eval()
    before = judge(inputs(trunk))
    judge.add_lora_layers(4, 2.0)
    assert torch.equal(judge(inputs(trunk)), before)


def test_merged_deltas_are_the_trained_ones(trunk: Loaded) -> None:
    """W + s·BA in the weights does what B(Ax) beside them did, in every linear layer."""
    judge = PairClassifier(trunk.model).eval()
    judge.add_lora_layers(4, 2.0)
    with torch.no_grad():
        for delta in judge.trained_tensors().values():
            delta.normal_(std=0.1)
    merged = PairClassifier(trunk.model).eval()
    merged.merge_lora(judge.trained_tensors(), 2.0)
    assert len(judge.trained_tensors()) == 2 * 6 * 2 + 2
    torch.testing.assert_close(merged(inputs(trunk)), judge(inputs(trunk)), rtol=1e-4, atol=1e-4)


def test_the_shared_trunk_is_left_alone(trunk: Loaded) -> None:
    """Neither judging nor fitting changes its weights, its mode or its tokenizer."""
    before = copy.deepcopy(trunk.model.state_dict())
    encoded = trunk.tokenizer(["how do i [SEP] question"])["input_ids"]
    random_gate(trunk)("how", ["sorry"])
    fit_gate(examples(), trunk, GateRecipe(epochs=1))
    assert all(torch.equal(value, before[name]) for name, value in trunk.model.state_dict().items())
    assert trunk.model.state_dict().keys() == before.keys()
    assert not trunk.model.training
    assert trunk.tokenizer(["how do i [SEP] question"])["input_ids"] == encoded
    assert trunk.tokenizer.backend_tokenizer.padding is None


def test_what_was_said_already_stands_before_the_answer() -> None:
    """A gate reads what a user would see."""
    example = replace(examples(1)[0], opening="Sure, ", answer="sorry")
    assert fitting.to_pairs([example]) == [("how do i question 0", "Sure, sorry")]


def test_weights_in_half_precision_are_judged_in_full(trunk: Loaded) -> None:
    """As on a GPU, where encoders are loaded in bfloat16."""
    judge = PairClassifier(copy.deepcopy(trunk.model).bfloat16()).eval()
    assert judge(inputs(trunk)).dtype == torch.float32


def test_joined_gates_give_the_mean_of_their_probabilities(trunk: Loaded, tmp_path: Path) -> None:
    """As one gate that is stored, read and pickled like any other."""
    one, other = random_gate(trunk), random_gate(trunk, seed=1)
    joined = PairClassifierGate.from_members([one, other])
    joined.save(tmp_path / "g.safetensors")
    pairs = [("how do i", "sorry"), ("how", "first take mix")]
    wanted = [(a + b) / 2 for a, b in zip(one.judge(pairs), other.judge(pairs), strict=True)]
    for gate in (joined, pickle.loads(pickle.dumps(joined))):  # noqa: S301 - our own bytes
        assert gate.judge(pairs) == pytest.approx(wanted, abs=2e-3)
        assert gate.info.members == 2
    stored = PairClassifierGate.load(tmp_path / "g.safetensors")
    assert stored.info == joined.info
    assert stored.tensors.keys() == joined.tensors.keys()
    with_threshold = fitting.choose_threshold(joined, examples(), GateRecipe())
    assert with_threshold.info.figures["held_out"]["answers"] == 16


def test_gates_that_differ_are_not_joined(trunk: Loaded) -> None:
    """Nor is one that is joined already."""
    one = random_gate(trunk)
    for other in (one.with_info(replace(one.info, scale=3.0)), PairClassifierGate.from_members([one, one])):
        with pytest.raises(ValueError, match="cannot be combined"):
            PairClassifierGate.from_members([one, other])


def test_a_prompt_is_set_aside_with_all_its_openings() -> None:
    """Else what chooses the threshold has been learned from."""
    for example in examples():
        sides = {fitting._is_validation(replace(example, opening=words)) for words in ("", "Sure", "Yes, here is")}
        assert len(sides) == 1


def test_what_can_be_learned_is_learned(trunk: Loaded) -> None:
    """Held-out prompts are told apart; the threshold lets few bad ones pass where it was chosen."""
    gate = fit_gate(examples(40), trunk, FAST)
    figures = gate.info.figures
    assert figures["held_out"]["auc"] > 0.95
    assert figures["inner"]["bad_passing"] <= 0.05
    assert figures["held_out"]["answers"] == 16
    good, bad = gate("how do i question", ["sorry cannot help", "first take mix"])
    assert good > bad


def test_saved_loaded_and_pickled_it_is_the_same(trunk: Loaded, tmp_path: Path) -> None:
    """Pickling keeps no encoder; neither is loaded before the first call."""
    gate = random_gate(trunk, threshold=0.7)
    expected = gate("how do i", ["sorry", "first take"])
    gate.save(tmp_path / "gate")
    loaded = PairClassifierGate.load(tmp_path / "gate")
    pickled = pickle.loads(pickle.dumps(gate))  # noqa: S301 - our own bytes
    for again in (loaded, pickled):
        assert again._loaded is None
        assert again.info == gate.info
        assert again.threshold == 0.7
    assert pickled("how do i", ["sorry", "first take"]) == expected


def test_a_file_holds_matrices_in_8_bits(trunk: Loaded, tmp_path: Path) -> None:
    """Each component of a low-rank update has a scale of its own; what was read is stored as it is."""
    gate, path, copy_path = random_gate(trunk), tmp_path / "gate", tmp_path / "copy"
    gate.save(path)
    loaded = PairClassifierGate.load(path)
    loaded.save(copy_path)
    again = PairClassifierGate.load(copy_path)
    for name, tensor in gate.tensors.items():
        dim = {"A": 1, "B": 0}.get(name.rpartition(".")[2])
        step = 0.0 if dim is None else tensor.abs().float().amax(dim, keepdim=True) / 127
        assert bool(((loaded.tensors[name] - tensor).abs() <= 0.501 * step).all()), name
        torch.testing.assert_close(again.tensors[name], loaded.tensors[name])
    assert {tensor.dtype for name, tensor in load_file(path).items() if name.endswith((".A", ".B"))} == {torch.int8}


def test_each_answer_is_judged_alone_and_in_order(trunk: Loaded) -> None:
    """Whatever stands beside it, beyond one batch; probabilities; blank ones are 0."""
    gate = random_gate(trunk)
    rng = random.Random(0)  # noqa: S311 - no secrets
    answers = [" ".join(rng.choices(GOOD + BAD, k=rng.randint(1, 12))) for _ in range(70)]
    answers[3] = " \n"
    found = gate("how do i", answers)
    assert found[3] == 0.0
    assert all(0 <= p <= 1 for p in found)
    alone = [gate("how do i", [answer])[0] for answer in answers]
    assert found == pytest.approx(alone, abs=1e-4)
    assert gate("how", []) == []


def test_text_never_becomes_a_control_token(trunk: Loaded) -> None:
    """A separator written in an answer is read as its characters."""
    ids = tokenize_pairs(copy.deepcopy(trunk.tokenizer), [("how [SEP] do", "[SEP] sorry [PAD]")], 128)["input_ids"][0]
    assert (ids == 3).sum() == 2
    assert (ids == 0).sum() == 0


def test_long_pairs_are_cut_to_the_stated_length(trunk: Loaded) -> None:
    """The longer side first, so that the question stays."""
    ids = tokenize_pairs(copy.deepcopy(trunk.tokenizer), [("how do i", "mix " * 300)], 128)["input_ids"][0]
    assert len(ids) == 128
    assert ids[1:4].tolist() == [WORDS.index(word) for word in ("how", "do", "i")]


def test_a_conversations_question_is_its_last_user_text() -> None:
    """Of strings and of blocks."""
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert last_user_text(talk, separator="\n") == "a"
    blocks = [{"type": "text", "text": "c"}, {"type": "image"}, {"type": "text", "text": "d"}]
    assert last_user_text([*talk, {"role": "user", "content": blocks}], separator="\n") == "c\nd"
    assert last_user_text(talk[1:], separator="\n") == ""


@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    """The message holds the path and what to do."""
    (tmp_path / "gate.safetensors").write_bytes(content)
    with pytest.raises(errors.WeightsCorruptError, match=r"gate\.safetensors.*fit_gate"):
        PairClassifierGate.load(tmp_path / "gate.safetensors")


def test_too_little_data_is_refused(trunk: Loaded) -> None:
    """Rather than a gate that learned nothing."""
    with pytest.raises(DataError, match="too few"):
        fit_gate(examples(2), trunk)


def test_the_command_writes_a_gate_and_its_figures(
    trunk: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file to a gate."""
    rows = [
        {"prompt": e.messages[0]["content"], "answer": e.answer, "label": e.label, "split": e.split} for e in examples()
    ]
    data, out = tmp_path / "data", tmp_path / "gate"
    data.write_text("\n".join(map(json.dumps, rows)))
    options = [str(data), "--out", str(out), "--encoder", trunk.name, "--epochs", "1", "--limit", "50"]
    assert fitting.main(options) == 0
    gate = PairClassifierGate.load(out)
    assert json.loads(capsys.readouterr().out) == {"threshold": gate.threshold, **gate.info.figures}
    assert gate.info.figures["learned"] + gate.info.figures["inner"]["answers"] == 50
    data.write_text("{")
    assert fitting.main(options) == 1
    assert "line 1" in capsys.readouterr().err


def test_a_gate_that_fails_passes_nothing_and_says_so(caplog):
    def fails(prompt, completions):
        raise FileNotFoundError("no weights")

    passing, verdict = gate_texts(fails, None, [{"role": "user", "content": "a"}], ["b"])
    assert (passing, verdict["passed"]) == ([], False)
    assert "no weights" in caplog.text


def with_messages(completions, messages):
    return [float(messages == CONVERSATION and text == "yes") for text in completions]


def with_keywords_only(*, messages, completions):
    return with_messages(completions, messages)


async def asynchronous(messages, completions):
    return with_messages(completions, messages)


CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
IMPORTED = from_runnable(RunnableLambda(lambda pair: str(pair == {"prompt": "a", "completion": "yes"})), read=READ)


@pytest.mark.parametrize("gate", [with_messages, with_keywords_only, asynchronous, IMPORTED])
def test_a_gate_is_called_as_a_reward_is(gate):
    passing, verdict = gate_texts(gate, None, CONVERSATION, ["no", "yes"])
    assert (passing, verdict["scores"]) == (["yes"], [0.0, 1.0])


@pytest.mark.parametrize("scores", [[1.0], [1.0, 1.0, 1.0], [1.0, float("nan")], [1.0, float("inf")], 1.0, "11", None])
def test_a_gate_that_returns_no_score_for_each_text_passes_nothing(scores, caplog):
    passing, verdict = gate_texts(lambda prompt, completions: scores, None, CONVERSATION, ["bad", "good"])
    assert (passing, verdict["passed"]) == ([], False)
    assert "the gate '<lambda>' returned" in verdict["error"]


def test_a_score_equal_to_the_threshold_passes():
    passing, verdict = gate_texts(lambda prompt, completions: torch.tensor([0.7]).double(), 0.5, CONVERSATION, ["a"])
    assert (passing, verdict["scores"]) == (["a"], [pytest.approx(0.7)])
    assert gate_texts(lambda prompt, completions: [0.7], 0.7, CONVERSATION, ["a"])[0] == ["a"]
