"""What `CausalLMPolicy` promises, on random models of seven architectures."""

from __future__ import annotations

import copy
import itertools
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from architectures import ARCHITECTURES, CHATML, CONTEXT, MARKUP, SPECIAL, VOCAB, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import named_fast
from tokenizers import AddedToken, Tokenizer, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from langchain_sea import errors, make_energy
from langchain_sea.chat.logprobs import compute_logprobs
from langchain_sea.core.protocols import ModelOutput, OutputSpec, Tokens
from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt
from langchain_sea.models.generation import sample_tokens
from langchain_sea.sampling.relaxation import full_support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

QUESTION = [{"role": "user", "content": "what is two and three?"}]
ANSWERS = ([40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150], [33, 44, 55], [200])
NEVER = torch.zeros(50, dtype=torch.bool)
# positions that turn, in layers with windows and without; and positions that are learned
FAST = ("gemma3", "gpt2")
every_model = pytest.mark.parametrize(
    ("name", "tied"),
    named_fast(itertools.product(ARCHITECTURES, (False, True)), fast=[("gemma3", False), ("gpt2", True)]),
)
every_architecture = pytest.mark.parametrize("name", named_fast(ARCHITECTURES, FAST))


@cache
def policy(name: str = "llama", *, tied: bool = False) -> CausalLMPolicy:
    return CausalLMPolicy(tiny_model(name, tied=tied), tiny_tokenizer())


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1000 * seed + row) for row in range(count)]


def generate(
    policy: CausalLMPolicy, prompt: PolicyPrompt, prefixes: Sequence[Sequence[int]], **options: Any
) -> list[list[int]]:
    options = {"tokens": 8, "temperature": 1.0, "generators": generators(len(prefixes)), **options}
    return policy.generate(prompt, prefixes, **options)


def test_tokens_that_the_model_does_not_know_are_named() -> None:
    """A tokenizer with added tokens whose model was not resized works until one of them is needed."""
    tokenizer = tiny_tokenizer(extra=["zebra"])
    subject = CausalLMPolicy(tiny_model("llama", vocab_size=tokenizer.get_vocab()["zebra"]), tokenizer)
    assert generate(subject, subject.prompt(QUESTION), [[]])
    with pytest.raises(errors.TokenizerMismatchError, match=r"'zebra'.*resize_token_embeddings"):
        subject.prompt([{"role": "user", "content": "what is a zebra?"}])
    with pytest.raises(errors.TokenizerMismatchError, match="'zebra'"):
        subject.encode("a zebra")
    without_tags = CausalLMPolicy(tiny_model("llama", vocab_size=tokenizer.get_vocab()[MARKUP[0]]), tokenizer)
    assert without_tags.find_reasoning_tags([5])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_text_with_more_ids_than_were_drawn_is_read_as_far_as_the_context_goes(name: str) -> None:
    """Bytes that are no character are written as one, which takes three ids when it is encoded again."""
    subject = policy(name)
    prompt = subject.prompt([{"role": "user", "content": "z" * (CONTEXT - 60)}])
    room = CONTEXT - len(prompt.ids)
    long = subject.decode([subject.encode("é")[0]] * room)
    assert len(subject.encode(long)) > room
    energy = make_energy(subject, lambda _, texts: list(map(len, texts)))
    terms = energy.evaluate_texts(prompt, [long, "no"])
    assert terms.nll.isfinite().all()
    assert terms.rewards[:, 0].tolist() == [len(long), 2.0]
    assert len(compute_logprobs(subject, prompt, long, 1)) == room


def plain(policy: CausalLMPolicy, prompt: PolicyPrompt, answer: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Logits (T, V) and hidden states (T, D) of an answer, by one forward without any cache."""
    ids = torch.tensor([[*prompt.ids, *answer]])
    output = policy.model(input_ids=ids, output_hidden_states=True, use_cache=False)
    start = len(prompt.ids)
    return output.logits[0, start - 1 : -1], [states[0, start:] for states in output.hidden_states]


def ids_in_order(policy: CausalLMPolicy, answers: Sequence[Sequence[int]]) -> Tokens:
    """The same answers as one-hot tokens over the whole vocabulary."""
    hard = Tokens.from_ids(answers)
    soft = torch.nn.functional.one_hot(hard.ids, policy.vocab_size).float()
    return Tokens(soft, full_support(hard.ids, policy.vocab_size), hard.mask)


def five_candidates(answers: Sequence[Sequence[int]]) -> Tokens:
    """The same answers as one-hot tokens among five candidates, each at another place."""
    hard = Tokens.from_ids(answers)
    support = (hard.ids[..., None] + torch.tensor([3, 0, 7, 1, 100])) % VOCAB
    soft = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]).expand(support.shape)
    return Tokens(soft, support, hard.mask)


# Reading


@every_model
@torch.no_grad()
def test_read_agrees_with_a_plain_forward(name: str, *, tied: bool) -> None:
    """Hard, five-candidate and whole-vocabulary tokens, ragged and together, as each answer alone."""
    subject = policy(name, tied=tied)
    prompt = subject.prompt(QUESTION)
    for tokens in (Tokens.from_ids(ANSWERS), five_candidates(ANSWERS), ids_in_order(subject, ANSWERS)):
        reading = subject.forward(prompt, tokens)
        assert reading.logits.shape == (3, 12, VOCAB)
        assert len(reading.hidden) == 4
        for row, answer in enumerate(ANSWERS):
            logits, hidden = plain(subject, prompt, answer)
            torch.testing.assert_close(reading.logits[row, : len(answer)], logits, atol=1e-4, rtol=1e-4)
            for layer, states in enumerate(hidden):
                row_states = reading.hidden[layer][row, : len(answer)]
                torch.testing.assert_close(row_states, states, atol=1e-4, rtol=1e-4)


@every_architecture
@torch.no_grad()
def test_a_prompt_of_one_token_needs_no_cache(name: str) -> None:
    """Nothing stands before the last prompt token, and reading and writing go on from it."""
    subject = CausalLMPolicy(tiny_model(name), tiny_tokenizer())
    prompt = subject.prompt_from_ids([1], QUESTION)
    assert prompt.ids == (1,)
    assert prompt.key_values == ()
    logits, _ = plain(subject, prompt, ANSWERS[0])
    torch.testing.assert_close(
        subject.forward(prompt, Tokens.from_ids(ANSWERS[:1])).logits[0], logits, atol=1e-4, rtol=1e-4
    )
    assert generate(subject, prompt, [[], []], tokens=3, temperature=0) == 2 * generate(
        subject, prompt, [[]], tokens=3, temperature=0
    )


@every_architecture
def test_what_stands_is_not_read_again(name: str) -> None:
    """After a prompt with some of the answer behind it: the same values, gradients and next tokens."""
    subject = policy(name)
    prompt, tokens = subject.prompt(QUESTION), soft_tokens(4)
    stands, output_spec = ANSWERS[0][:7], OutputSpec(frozenset({0, 2, 3}))
    behind = subject.prefill(subject.prefill(prompt, stands[:3], output_spec), stands[3:], output_spec)
    assert behind.answer == tuple(stands)
    whole = tokens.after(stands)
    values, gradients = [], []
    for after in (prompt, behind):
        reading = subject.forward(after, whole, output_spec)
        values.append((*(reading.hidden[i] for i in (0, 2, 3)), reading.log_probs(whole), reading.logits[:, -3:]))
        assert reading.logits.shape[1] == 10 - len(after.answer)
        total = reading.log_probs(whole).sum() + sum(reading.hidden[i].square().sum() for i in (0, 2, 3))
        gradients.append(torch.autograd.grad(total, tokens.soft)[0])
    for plain_value, value in zip(*values, strict=True):
        torch.testing.assert_close(value, plain_value, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-3, rtol=1e-3)
    candidates, _ = subject.forward(behind, whole).candidates(tokens.ids, 5, subject.banned)
    expected, _ = subject.forward(prompt, whole).candidates(whole.ids, 5, subject.banned)
    assert torch.equal(candidates, expected[:, 7:])
    greedy = {"tokens": 5, "temperature": 0, "generators": []}
    assert generate(subject, behind, [[], [40]], **greedy) == generate(
        subject, prompt, [stands, [*stands, 40]], **greedy
    )
    assert subject.prefill(prompt, [], output_spec) is prompt


def functional(logits: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """One number that all logits and the states of two layers move."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    return (logits * weights).sum() + hidden[1].sum() + hidden[-1].square().sum()


def both(reading: ModelOutput) -> Tensor:
    """The same of a reading."""
    return functional(reading.logits, [reading.hidden[layer] for layer in sorted(reading.hidden)])


def soft_tokens(size: int, dtype: torch.dtype = torch.float32) -> Tokens:
    """Two answers of three positions, evenly mixed but for chance."""
    soft = torch.rand(2, 3, size, generator=torch.Generator().manual_seed(0), dtype=dtype).softmax(-1)
    mask = torch.ones(2, 3, dtype=torch.bool)
    return Tokens(soft.requires_grad_(), torch.arange(size).expand(2, 3, size), mask)


@pytest.mark.parametrize("size", [4, VOCAB])
def test_the_gradient_through_soft_tokens_is_that_of_finite_differences(size: int) -> None:
    """In float64, which GPT-2 alone keeps through all its layers."""
    subject = CausalLMPolicy(tiny_model("gpt2", dtype=torch.float64), tiny_tokenizer())
    prompt, tokens = subject.prompt(QUESTION), soft_tokens(size, torch.float64)

    def value(soft: Tensor) -> Tensor:
        return both(subject.forward(prompt, tokens._replace(soft=soft)))

    (gradient,) = torch.autograd.grad(value(tokens.soft), tokens.soft)
    way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        slope = (value(tokens.soft + 1e-5 * way) - value(tokens.soft - 1e-5 * way)) / 2e-5
    torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-6, atol=1e-6)


@every_model
@pytest.mark.parametrize("size", [4, VOCAB])
def test_the_gradient_is_that_of_a_plain_forward(name: str, *, tied: bool, size: int) -> None:
    """The prompt's cached states and the mixing change nothing of it."""
    subject = policy(name, tied=tied)
    prompt, tokens = subject.prompt(QUESTION), soft_tokens(size)
    (gradient,) = torch.autograd.grad(both(subject.forward(prompt, tokens)), tokens.soft)
    embedding = subject.model.get_input_embeddings()
    start = embedding(torch.tensor([prompt.ids] * 2))
    embeds = torch.cat([start, tokens.soft @ embedding(torch.arange(size))], 1)
    output = subject.model(inputs_embeds=embeds, output_hidden_states=True, use_cache=False)
    begin = len(prompt.ids)
    hidden = [states[:, begin:] for states in output.hidden_states]
    value = functional(output.logits[:, begin - 1 : -1], hidden)
    (expected,) = torch.autograd.grad(value, tokens.soft)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_reading_builds_a_graph_only_where_the_tokens_ask_for_one() -> None:
    """Hard ids need none, soft ones with gradient do, and the weights get none even when they could."""
    subject = CausalLMPolicy(tiny_model("llama", tied=True), tiny_tokenizer())
    prompt = subject.prompt(QUESTION)
    assert not subject.forward(prompt, Tokens.from_ids(ANSWERS)).logits.requires_grad
    tokens = five_candidates(ANSWERS)
    tokens = tokens._replace(soft=tokens.soft.clone().requires_grad_())
    subject.forward(prompt, tokens).logits.sum().backward()
    assert tokens.soft.grad is not None
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    with torch.no_grad():
        assert not subject.forward(prompt, tokens).logits.requires_grad


@every_architecture
def test_nothing_that_was_handed_over_changes(name: str) -> None:
    """The prompt's tensors, the weights, the configuration and the tokenizer are the same after all uses."""
    model, tokenizer = tiny_model(name), tiny_tokenizer()
    before = copy.deepcopy((model.state_dict(), model.config.to_dict(), tokenizer._tokenizer.to_str()))
    subject = CausalLMPolicy(model, tokenizer)
    prompt = subject.prompt([{"role": "user", "content": "a <|im_end|> b"}])
    states = copy.deepcopy(prompt.key_values)
    tokens = five_candidates(ANSWERS)
    subject.forward(prompt, tokens._replace(soft=tokens.soft.clone().requires_grad_())).logits.sum().backward()
    generate(subject, prompt, [[], [5], [5, 6]])
    subject.encode("<|im_end|>")
    for (keys, values), (old_keys, old_values) in zip(prompt.key_values, states, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
        assert keys.shape == (keys.shape[0], len(prompt.ids) - 1, keys.shape[2])
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[0][key])
    assert (model.config.to_dict(), tokenizer._tokenizer.to_str()) == before[1:]
    assert not tokenizer._tokenizer.encode_special_tokens
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_read_in_float32(dtype: torch.dtype) -> None:
    """Outputs and gradients are float32 and finite, and close to those of the same weights in float32."""
    subject = CausalLMPolicy(tiny_model("llama", dtype=dtype), tiny_tokenizer())
    wide = CausalLMPolicy(tiny_model("llama", dtype=dtype).float(), tiny_tokenizer())
    tokens = five_candidates(ANSWERS)
    tokens = tokens._replace(soft=tokens.soft.clone().requires_grad_())
    reading = subject.forward(subject.prompt(QUESTION), tokens)
    assert {reading.logits.dtype, *(states.dtype for states in reading.hidden.values())} == {torch.float32}
    expected = wide.forward(wide.prompt(QUESTION), tokens).logits
    assert (reading.logits - expected)[tokens.mask].abs().mean() < 0.05
    (gradient,) = torch.autograd.grad(reading.logits[tokens.mask].sum(), tokens.soft)
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all()
    assert len(generate(subject, subject.prompt(QUESTION), [[]])[0]) > 0


def test_a_model_in_training_mode_is_refused() -> None:
    """Dropout would make two readings of the same answer differ."""
    with pytest.raises(ValueError, match="eval"):
        CausalLMPolicy(tiny_model("gpt2").train(), tiny_tokenizer())


# Writing


@every_architecture
def test_greedy_drafts_are_those_of_generate(name: str) -> None:
    """With and without a prefix, past the window of the sliding layers."""
    subject = policy(name)
    prompt = subject.prompt(QUESTION)
    prefixes = [[], [40, 50], [60, 70], [44, 55, 66]]
    drafts = generate(subject, prompt, prefixes, tokens=16, temperature=0, generators=[])
    never = [i for i in subject.banned.nonzero().flatten().tolist() if i not in subject.end_ids]
    for prefix, draft in zip(prefixes, drafts, strict=True):
        ids = torch.tensor([[*prompt.ids, *prefix]])
        whole = subject.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            suppress_tokens=never,
            pad_token_id=0,
        )[0, ids.shape[1] :].tolist()
        assert draft == whole[: whole.index(2)] if 2 in whole else whole


@every_architecture
def test_a_row_draws_the_same_alone_and_among_others(name: str) -> None:
    """Prefixes of several lengths, rows that end early and rows that go on."""
    subject = policy(name)
    prompt = subject.prompt(QUESTION)
    prefixes = [[], [40], [50, 60], []]
    together = generate(subject, prompt, prefixes, tokens=20, temperature=1.3)
    alone = [
        generate(subject, prompt, [prefix], tokens=20, temperature=1.3, generators=[g])[0]
        for prefix, g in zip(prefixes, generators(len(prefixes)), strict=True)
    ]
    assert together == alone
    assert together[0] != together[-1]  # each row draws by its own generator


def test_rows_end_at_any_end_id_and_leave_the_batch() -> None:
    """Those of the generation configuration count; none is in the result; the rest writes on alone."""
    model = tiny_model("llama")
    model.generation_config.eos_token_id = [2, *range(10, 60)]
    subject = CausalLMPolicy(model, tiny_tokenizer())
    assert subject.end_ids == {2, *range(10, 60)}
    prompt = subject.prompt(QUESTION)
    sizes: list[int] = []

    def go_on(rows: int) -> bool:
        sizes.append(rows)
        return True

    drafts = generate(subject, prompt, [[]] * 12, tokens=40, go_on=go_on)
    assert not subject.end_ids.intersection(i for draft in drafts for i in draft)
    assert sizes == [sum(len(d) >= step for d in drafts) for step in range(len(sizes))]
    assert len({len(draft) for draft in drafts}) > 3
    together = dict(enumerate(drafts))
    for row, g in enumerate(generators(12)):
        assert generate(subject, prompt, [[]], tokens=40, generators=[g]) == [together[row]]


def test_a_finished_prefix_is_not_continued() -> None:
    """Its row stays empty, and costs no step."""
    subject = policy()
    row_counts: list[int] = []
    drafts = generate(
        subject, subject.prompt(QUESTION), [[40, 2], [], [2]], tokens=1, go_on=lambda rows: not row_counts.append(rows)
    )
    assert drafts[0] == drafts[2] == []
    assert row_counts == [1]


def test_go_on_stops_all_drafting() -> None:
    """What is written by then is returned."""
    subject = policy()
    prompt = subject.prompt(QUESTION)
    answers = iter([True, True, False])
    drafts = generate(subject, prompt, [[], [], [40]], temperature=0, go_on=lambda _rows: next(answers))
    assert [len(draft) for draft in drafts] == [2, 2, 2]
    assert drafts[0] == generate(subject, prompt, [[]], temperature=0, tokens=2)[0]


def test_drafts_stop_at_the_end_of_the_context() -> None:
    """No position beyond it is ever read."""
    subject = policy("gpt2")
    prompt = subject.prompt(QUESTION)
    room = CONTEXT - len(prompt.ids)
    (draft,) = generate(subject, prompt, [[40] * (room - 2)], tokens=50, temperature=0)
    assert len(draft) == 2
    assert generate(subject, prompt, [[40] * (room + 9)]) == [[]]
    assert generate(subject, prompt, [[]], tokens=0) == [[]]
    assert generate(subject, prompt, []) == []


def heat(temperature: float, rows: int) -> Tensor:
    """The same temperature for every row."""
    return torch.full((rows,), temperature, dtype=torch.float64)


def test_one_step_draws_follow_the_softmax() -> None:
    """Pearson's statistic of 4,000 seeded draws stays within five deviations of its mean."""
    subject = policy()
    prompt = subject.prompt(QUESTION)
    count, temperature = 4000, 0.7
    (logits,) = subject.forward(prompt, Tokens.from_ids([[0]])).logits[0].double()
    logits[subject.banned] = -torch.inf
    logits[2] = subject.forward(prompt, Tokens.from_ids([[0]])).logits[0, 0, 2]
    expected = (logits / temperature).softmax(-1) * count
    drafts = generate(subject, prompt, [[]] * count, tokens=1, temperature=temperature)
    drawn = torch.bincount(torch.tensor([draft[0] if draft else 2 for draft in drafts]), minlength=VOCAB)
    assert not drawn[expected == 0].any()
    common = expected >= 5
    statistic = ((drawn - expected)[common].square() / expected[common]).sum()
    degrees = common.sum() - 1
    assert abs(statistic - degrees) < 5 * (2 * degrees) ** 0.5


def test_the_draw_inverts_the_distribution_function() -> None:
    """Evenly spaced numbers give every token its share to within one, and none to what cannot follow."""
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    logits[[0, 7, 8, 49]] = -torch.inf
    count = 20_000
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = torch.bincount(
        torch.tensor(sample_tokens(logits.expand(count, 50), even, heat(0.5, count), NEVER)), minlength=50
    )
    assert (drawn - count * (logits / 0.5).softmax(-1)).abs().max() <= 1
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    for temperature in (1e-6, 0.1, 1.0, 100.0):
        assert not set(sample_tokens(logits.expand(2, 50), edges, heat(temperature, 2), NEVER)) & {0, 7, 8, 49}
    assert sample_tokens(logits.expand(2, 50), edges, heat(1.0, 2), NEVER) == [1, 48]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_banned_ids_are_never_drawn(temperature: float) -> None:
    """However much the model wants them; ids without a token count too."""
    model = tiny_model("llama", vocab_size=512)
    model.lm_head.weight.data[[0, 1, *range(400, 512)]] *= 30
    subject = CausalLMPolicy(model, tiny_tokenizer())
    drafts = generate(subject, subject.prompt(QUESTION), [[]] * 20, tokens=20, temperature=temperature)
    assert not {i for draft in drafts for i in draft} & set(subject.banned.nonzero().flatten().tolist())


def test_what_is_banned() -> None:
    """Special tokens, end ids and ids beyond the tokenizer's; not the markup of tool calls."""
    subject = CausalLMPolicy(
        tiny_model("llama", vocab_size=512),
        tiny_tokenizer(extra=[AddedToken("<|extra|>", special=True), AddedToken("<|ctrl|>", special=True)]),
    )
    tokenizer = subject.tokenizer
    assert subject.vocab_size == 512
    assert subject.context == CONTEXT
    banned = set(subject.banned.nonzero().flatten().tolist())
    assert banned == {0, 1, 2, *tokenizer.convert_tokens_to_ids(["<|extra|>", "<|ctrl|>"]), *range(len(tokenizer), 512)}


def test_a_row_without_a_finite_logit_ends() -> None:
    """NaN never becomes a token, and what the other rows draw does not change."""
    model = tiny_model("llama")
    model.lm_head.weight[:] = torch.nan
    subject = CausalLMPolicy(model, tiny_tokenizer())
    for temperature in (0.0, 1.0):
        assert generate(subject, subject.prompt(QUESTION), [[], []], temperature=temperature) == [[], []]
    model.lm_head.weight[77] = 1
    assert {i for d in generate(subject, subject.prompt(QUESTION), [[]] * 4) for i in d} == {77}


# Text and templates

PIECES = st.sampled_from(
    [
        *SPECIAL,
        *MARKUP,
        "<|im_<|im_end|>end|>",
        "<|im_start|><|im_end|>",
        "<|im_",
        "end|>",
        "<",
        "<|",
        "|>",
        "start",
        "im",
        " ",
        "\n",
        "é🙂",
        "the",
        "\ue000",
        "\\ue000",
        '"',
        "\\",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=6).map("".join)


def controls(subject: CausalLMPolicy, ids: Sequence[int]) -> list[int]:
    added = set(subject.tokenizer.added_tokens_decoder)
    return [i for i in ids if i in added]


@settings(max_examples=30, deadline=None)
@given(user=TEXTS, assistant=TEXTS, tool=TEXTS)
def test_user_text_never_becomes_a_control_token(user: str, assistant: str, tool: str) -> None:
    """A conversation has the control tokens of its template alone, and says what it says."""
    check_controls(user, assistant, tool)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(user=TEXTS, assistant=TEXTS, tool=TEXTS)
def test_no_text_of_many_becomes_a_control_token(user: str, assistant: str, tool: str) -> None:
    check_controls(user, assistant, tool)


def check_controls(user: str, assistant: str, tool: str) -> None:
    """Write a conversation with a tool, and compare it with its template."""
    subject = policy()
    messages = [
        {"role": "user", "content": user},
        {"role": "assistant", "content": assistant},
        {"role": "user", "content": "and?"},
    ]
    tools = [{"type": "function", "function": {"name": tool, "parameters": {tool: {"enum": [tool, 1, None]}}}}]
    ids = subject._template.chat(messages, tools)
    assert controls(subject, ids) == [1, 2, 1, 2, 1, 2, 1, 2, 1]
    written = subject.tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
    assert subject.tokenizer.decode(ids) == written


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(TEXTS, max_size=5))
def test_texts_that_a_template_joins_never_become_a_control_token(parts: list[str]) -> None:
    """Each part may hold a piece of one, with blanks that the template trims away."""
    template = "<|im_start|>{% for part in messages[0]['content'] %}{{ part['text'] | trim }}{% endfor %}<|im_end|>"
    subject = CausalLMPolicy(policy().model, policy().tokenizer, chat_template=template)
    content = [{"type": "text", "text": part} for part in parts]
    ids = subject._template.chat([{"role": "user", "content": content}], None)
    assert controls(subject, ids) == [1, 2]
    assert subject.decode(ids) == "".join(part.strip() for part in parts)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_encoded_answers_hold_no_special_token_and_keep_their_text(text: str) -> None:
    """Decoding gives the text back; the markup of tool calls stays whole."""
    subject = policy()
    ids = subject.encode(text)
    assert not {0, 1, 2}.intersection(ids)
    assert subject.decode(ids) == text
    assert subject.encode("<tool_call>") == [subject.tokenizer.convert_tokens_to_ids("<tool_call>")]


@settings(max_examples=50, deadline=None)
@given(user=st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "<" not in text))
def test_benign_conversations_have_the_ids_of_the_template(user: str) -> None:
    """Exactly those that `apply_chat_template` gives."""
    subject = policy()
    messages = [{"role": "system", "content": "the policy"}, {"role": "user", "content": user}]
    tools = [{"type": "function", "function": {"name": "add", "description": "a + b"}}]
    for given_tools in (None, tools):
        assert subject._template.chat(messages, given_tools) == subject.tokenizer.apply_chat_template(
            messages, tools=given_tools, add_generation_prompt=True, return_dict=False
        )


def test_a_normaliser_hides_no_control_token() -> None:
    """Text that only becomes a control string by normalisation is split as well."""
    tokenizer = tiny_tokenizer(extra=[AddedToken("<|stop|>", special=True, normalized=True)])
    tokenizer._tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer = type(tokenizer)(tokenizer_object=tokenizer._tokenizer, chat_template=CHATML)
    subject = CausalLMPolicy(tiny_model("llama"), tokenizer)
    stop = tokenizer.convert_tokens_to_ids("<|stop|>")
    for text in ("go <|STOP|> on", "go <|stop|> on", "<|sToP|><|STOP|>"):
        assert stop in tokenizer.encode(text)
        assert stop not in subject.encode(text)
        assert stop not in subject.prompt([{"role": "user", "content": text}]).ids


def test_word_like_added_tokens_are_text() -> None:
    """A word or a run of blanks that was added to the vocabulary structures no conversation."""
    subject = CausalLMPolicy(tiny_model("llama"), tiny_tokenizer(extra=["langchain", "    "]))
    messages = [{"role": "user", "content": "use langchain:\n    x l"}]
    expected = subject.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(subject.prompt(messages).ids) == expected
    assert subject.tokenizer.convert_tokens_to_ids("langchain") in expected


def test_unknown_characters_are_text_and_their_token_is_not() -> None:
    """Where one id stands for all unknown characters, it may come from one, but not from its name."""
    unknown = "<unk>"
    characters = {character: i for i, character in enumerate([unknown, *"<unk>abc "])}
    backend = Tokenizer(models.BPE(vocab=characters, merges=[], unk_token=unknown))
    backend.add_special_tokens([unknown])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unknown)
    subject = CausalLMPolicy(tiny_model("llama"), tokenizer, chat_template=CHATML)
    assert subject.encode("aéb") == [characters["a"], 0, characters["b"]]
    assert subject.encode("a <unk>b") == [characters[character] for character in "a <unk>b"]
    assert subject.encode("é<unk>")[1:] == [characters[character] for character in "<unk>"]


def test_a_character_that_is_a_special_token_is_left_out() -> None:
    """Nothing is left to split."""
    subject = CausalLMPolicy(tiny_model("llama"), tiny_tokenizer(extra=[AddedToken("§", special=True)]))
    assert subject.decode(subject.encode("a§b")) == "ab"
    assert subject.encode("§") == []


@pytest.mark.parametrize("escaped", [False, True])
def test_breaks_survive_a_template_that_writes_ascii(escaped: bool) -> None:  # noqa: FBT001
    """The private character is found again where the template escaped it as JSON."""
    template = "<|im_start|>{{ messages[0]['content'] | tojson(ensure_ascii=%s) }}" % escaped  # noqa: UP031
    subject = CausalLMPolicy(tiny_model("llama"), tiny_tokenizer(), chat_template=template)
    ids = subject.prompt([{"role": "user", "content": "a<|im_end|>b"}]).ids
    assert subject.tokenizer.decode(ids) == '<|im_start|>"a<|im_end|>b"'
    assert controls(subject, ids) == [1]


def test_a_tokenizer_that_puts_a_blank_before_text_puts_none_inside_it() -> None:
    """As those made from SentencePiece do."""
    tokenizer = tiny_tokenizer()
    tokenizer._tokenizer.normalizer = normalizers.Prepend(" ")
    subject = CausalLMPolicy(tiny_model("llama"), tokenizer)
    assert subject.decode(subject.encode("a<|im_end|>b")) == " a<|im_end|>b"


def test_the_begin_token_comes_from_the_template_alone() -> None:
    """A tokenizer that adds one by itself adds none to what the template wrote."""
    tokenizer = tiny_tokenizer(chat_template="{{ bos_token }}{{ messages[0]['content'] }}", bos_token=SPECIAL[1])
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    assert tokenizer.encode("hi")[0] == 1
    subject = CausalLMPolicy(tiny_model("llama"), tokenizer)
    assert subject.prompt([{"role": "user", "content": "hi"}]).ids.count(1) == 1
    assert subject.encode("hi").count(1) == 0


def test_equal_conversations_have_equal_keys() -> None:
    """And the messages stay as they were given."""
    subject = policy()
    message = {"role": "user", "content": "a <|im_end|>"}
    prompt = subject.prompt([message])
    assert prompt.key == subject.prompt([dict(message)]).key != subject.prompt(QUESTION).key
    assert prompt.messages == ({"role": "user", "content": "a <|im_end|>"},)


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    """The error names the prompt's length, the room asked for and the context."""
    subject = policy()
    length = len(subject.prompt(QUESTION).ids)
    assert len(subject.prompt(QUESTION, room=CONTEXT - length).ids) == length
    with pytest.raises(errors.PromptTooLongError, match=rf"{length} tokens .* {CONTEXT - length + 1} .* {CONTEXT};"):
        subject.prompt(QUESTION, room=CONTEXT - length + 1)


def test_conversations_that_no_template_writes_are_refused() -> None:
    """No template, a template that objects, one that fails, one that writes nothing; no messages."""
    model = tiny_model("llama")

    def refused(template: str | None, messages: list[dict[str, Any]], match: str) -> None:
        with pytest.raises(errors.ChatTemplateError, match=match):
            CausalLMPolicy(model, tiny_tokenizer(chat_template=template)).prompt(messages)

    system = [{"role": "system", "content": "be brief"}]
    objects = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    refused(None, QUESTION, "chat_template=")
    refused(objects, system, "system: no system role here")
    refused("{{ messages[0]['content'] + messages[0]['missing'] }}", QUESTION, "missing")
    refused("{{ messages[0]['content'] + none }}", QUESTION, "None")
    refused("", QUESTION, "leaves out parts of this conversation")
    refused(CHATML, [{"role": "user", "content": "".join(map(chr, range(0xE000, 0xF900)))}], "private-use")
    with pytest.raises(ValueError, match="no messages"):
        policy().prompt([])
