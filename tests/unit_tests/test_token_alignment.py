"""Another tokenizer's reward that steers: what is mapped, what is refused, and slopes that are right."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from architectures import VOCAB, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import TEXTS, policy, view_of
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerFast

from langchain_sea.core.protocols import AnswerBatch, DifferentiableReward, Tokens
from langchain_sea.errors import TokenizerMismatchError
from langchain_sea.rewards.encoder import EncoderReward
from langchain_sea.rewards.soft_encoder import SoftEncoderReward, encoder_reward
from langchain_sea.rewards.token_alignment import TokenAlignment
from langchain_sea.sampling.relaxation import top_support

WORDS = ("the", "answer", "is", "five", "reward", "policy", "two", "and", "three", "judges", "no", "what", "one")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@cache
def word_pieces(*, letters: bool = True) -> PreTrainedTokenizerFast:
    """WordPiece as BERT has it, with some words and, perhaps, all letters."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789.,:;?!()[]{}\"'_-=+*/\\<>|@#$%^&~`" if letters else ""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *alphabet, *(f"##{c}" for c in alphabet), "##wer"]
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106 - a token
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@cache
def encoder(dtype: torch.dtype = torch.float32):
    size = len(word_pieces())
    shape = {"vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(**shape, intermediate_size=48, max_position_embeddings=128, num_labels=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.to(dtype).eval().requires_grad_(False)


@cache
def alignment() -> TokenAlignment:
    return TokenAlignment.between(tiny_tokenizer(), word_pieces(), floor=0.4)


def reward(dtype: torch.dtype = torch.float32) -> SoftEncoderReward:
    return SoftEncoderReward(encoder(dtype), word_pieces(), alignment())


def names(ids) -> list[str]:
    return word_pieces().convert_ids_to_tokens([i for i in ids.tolist() if i >= 0])


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "xlnet"])
def test_an_encoder_reads_as_much_as_it_can(kind: str) -> None:
    """Some number positions from behind the id of the padding, and have no rows for so many tokens as they say."""
    shape = {"vocab_size": len(word_pieces()), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model(kind, **shape, intermediate_size=48, num_labels=1, pad_token_id=1, d_head=8)
    if kind != "xlnet":  # it has no limit
        config.max_position_embeddings = 40
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = copy.deepcopy(word_pieces())
    tokenizer.pad_token, tokenizer.model_input_names = "[UNK]", ["input_ids", "attention_mask"]
    reward = EncoderReward(model, tokenizer)
    assert reward.longest == {"bert": 40, "xlnet": 512}.get(kind, 38)
    texts = ["the answer is five " * 30, "no"]
    scores = reward.judge([{"role": "user", "content": "what is two and three"}], texts)
    assert scores.isfinite().all()


@pytest.mark.parametrize(
    ("token", "pieces"), [("Ġthe", ["the"]), ("a", ["##a"]), ("Ġanswer", ["answer"]), ("Ġ", []), (".", ["."])]
)
def test_blanks_and_continuations_are_written_as_the_reward_does(token: str, pieces: list[str]) -> None:
    """A word with a blank is a word, one without goes on with the word before it."""
    vocabulary = tiny_tokenizer().get_vocab()
    assert token in vocabulary
    assert names(alignment().lookup(torch.tensor(vocabulary[token]))) == pieces


def test_the_shares_are_stated_and_a_floor_refuses() -> None:
    """Bytes that are no character cannot be written; the message shows some."""
    found = alignment()
    assert 0 < found.exact <= found.share < 1
    assert 0 < found.reached <= 1
    with pytest.raises(TokenizerMismatchError, match="floor of 90%"):
        TokenAlignment.between(tiny_tokenizer(), word_pieces())
    with pytest.warns(UserWarning, match="only ranks"):
        ranks = encoder_reward(encoder(), word_pieces(), tiny_tokenizer())
    assert type(ranks) is EncoderReward
    with pytest.raises(TokenizerMismatchError):
        encoder_reward(encoder(), word_pieces(), tiny_tokenizer(), steers=True)
    assert isinstance(encoder_reward(encoder(), word_pieces(), tiny_tokenizer(), floor=0.4), DifferentiableReward)


@settings(max_examples=25)
@given(st.lists(texts, min_size=1, max_size=3))
def test_on_hard_tokens_it_steers_as_it_ranks(found: list[str]) -> None:
    """Whatever else is in the batch, on the reward's own encoding of each text."""
    view = view_of(found)
    with torch.no_grad():
        torch.testing.assert_close(reward().score_soft(view), reward().score(view, found), atol=1e-5, rtol=1e-4)


def relaxed(dtype: torch.dtype, spread: float = 0.2) -> AnswerBatch:
    """The texts on four candidates each, the likeliest the text's own."""
    writer = policy("gpt2", dtype=dtype)
    view = view_of(TEXTS[:3], name="gpt2", dtype=dtype)
    torch.manual_seed(0)
    logits = torch.randn(*view.tokens.ids.shape, VOCAB)
    support = top_support(logits, view.tokens.ids, 4)
    soft = (torch.rand(*support.shape, dtype=dtype) * spread + torch.tensor([3.0, 0, 0, 0], dtype=dtype)).softmax(-1)
    return AnswerBatch(writer, view.prompt, Tokens(soft.requires_grad_(), support, view.tokens.mask))


def test_its_gradient_is_that_of_the_relaxed_input() -> None:
    """Against finite differences in float64; padding has none."""
    view, found = relaxed(torch.float64), reward(torch.float64)
    soft = view.tokens.soft
    (gradient,) = torch.autograd.grad(found.score_soft(view).sum(), soft)
    assert gradient[~view.tokens.mask].abs().max() == 0
    differences = torch.zeros_like(gradient)
    places = view.tokens.mask.nonzero().tolist()[::5]
    for c, t in places:
        for k in range(4):
            ends = []
            for step in (1e-5, -1e-5):
                moved = soft.detach().clone()
                moved[c, t, k] += step
                ends.append(
                    found.score_soft(AnswerBatch(view.policy, view.prompt, view.tokens._replace(soft=moved))).sum()
                )
            differences[c, t, k] = (ends[0] - ends[1]) / 2e-5
    chosen = torch.tensor(places)
    ours, theirs = (g[chosen[:, 0], chosen[:, 1]].flatten() for g in (gradient, differences))
    assert theirs.abs().max() > 1e-4
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.9999


@torch.no_grad()
def test_all_of_another_word_is_that_word() -> None:
    """Where both are one token to either side, moving a place's whole weight exchanges its embedding."""
    vocabulary = tiny_tokenizer().get_vocab()
    first, second = vocabulary["Ġis"], vocabulary["Ġand"]
    view = view_of(["what is"])
    ids, found = view.tokens.ids, reward()
    at = int((ids[0] == first).nonzero()[0])
    support = torch.stack([ids, ids], -1)
    support[0, at, 1] = second
    soft = torch.tensor([0.501, 0.499]).expand(support.shape).clone()
    soft[0, at] = torch.tensor([0.501, 0.499])
    inputs = found._inputs("q", ["what is"])
    places = [found._places(inputs, 0, [view.policy.decode([i]) for i in ids[0].tolist()])]
    own = found._embedding(inputs["input_ids"])
    moved = found._soft_change(
        AnswerBatch(view.policy, view.prompt, Tokens(soft, support, view.tokens.mask)), places, own
    )
    table, pieces = found._embedding.weight, word_pieces().get_vocab()
    expected = 0.499 * (table[pieces["and"]] - table[pieces["is"]])
    (position,) = places[0][at]
    torch.testing.assert_close(moved[0, position], expected, atol=1e-5, rtol=1e-4)
