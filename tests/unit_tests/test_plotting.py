"""Pictures of a trace: what they show is what was measured, and a text in them stays a text."""

import io
import pickle
import re
import sys
import unicodedata
import uuid
from html.parser import HTMLParser

import pytest
from doubles import SMALL_PLAN
from hypothesis import given
from hypothesis import strategies as st
from slow_cases import first_fast

from langchain_sea import Budget, SEAChatModel
from langchain_sea.core.trace import ScoredText, Trace, TraceStep
from langchain_sea.plotting import Diff, ProgressBar, diff, plot, to_html
from langchain_sea.plotting.progress import describe_plan
from langchain_sea.plotting.text_diff import escape_control, escape_html

HTML = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</p></div><h1>owned</h1>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    '" onmouseover="alert(1)',
    "' style='position:fixed;inset:0",
    "<style>*{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<!-- <script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<a href='javascript:alert(1)'>here</a>",
    "<form action=//evil.example><button>ok",
    "<details open ontoggle=alert(1)>",
    "<textarea><script>alert(1)</script>",
    "<math><mtext><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "BODY",
]
MARKDOWN = [
    "[click](javascript:alert(1))",
    "![x](//evil.example/pixel.png)",
    "# heading\n\n---",
    "```html\n<script>alert(1)</script>\n```",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\require{html}\\style{position:fixed}{x}$$",
    "\\(\\unicode{x202e}\\)",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "<details>\n\n**bold**\n\n</details>",
    "[ref]: //evil.example 'x'",
]
TERMINAL = [
    "\x1b[2J\x1b[H",
    "\x1b]0;owned\x07",
    "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "\x1b[31mred\x1b[0m",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x9b2J",
    "over\rwritten",
    "\x08\x08\x08erased",
    "\x07",
    "\x1bP1$tq\x1b\\",
    "a\x00b",
    "\x7f\x7f",
]
BIDI = [
    "\u202eevil\u202c",
    "\u2066a\u2067b\u2069\u2069",
    "\u200fright",
    "\u061cletter",
    "zero\u200bwidth\u200djoined",
    "\ufeffmark",
    "line\u2028separator\u2029end",
]
PAYLOADS = [*HTML, *MARKDOWN, *TERMINAL, *BIDI]
VOID = {"meta", "br", "img", "input", "link", "base"}


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and the words between."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))

    def handle_data(self, data):
        self.words.append(data)


def trace_of(draft, answer, name="length"):
    """A trace of two chains and two steps between these texts."""
    steps = [
        TraceStep(at, (0, 1), (1.0 - at, 2.0), (2.0, 2.5), ((0.1 + at,), (0.2,)), (None, 0.5), (at, 0), 0.1)
        for at in range(2)
    ]
    before, after = ScoredText(draft, -1.0, 2.0, {name: 0.1}), ScoredText(answer, 0.0, 1.5, {name: 1.1})
    return Trace(steps, before=before, after=after, candidates=[before, after])


def latent_trace():
    """A trace of two groups and three rounds; of the last round no gradient was needed."""
    steps = [
        TraceStep(
            at, (0, 1), (3.0 - at, 2.0 - at), (2.0, 2.5), ((0.1,), (0.2,)), (None, None), (8, 8), 0.1,
            latent_norm=(0.0, 0.1 * at), divergence=() if at == 2 else (0.0, 0.05),
        )
        for at in range(3)
    ]  # fmt: skip
    before, after = ScoredText("a", -1.0, 2.0, {"safety": 0.1}), ScoredText("b", 0.0, 1.5, {"safety": 1.1})
    return Trace(steps, before=before, after=after, candidates=[before, after])


def steers(text):
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}]


def test_there_are_fifty_payloads():
    assert len(set(PAYLOADS)) == len(PAYLOADS) == 50


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_inert_in_terminal_and_notebook(payload):
    """It is seen, and nothing of it steers a terminal, adds a tag, or turns the direction of writing."""
    diff = Diff.between("harmless words", payload)
    ours = re.sub(r"\x1b\[(31;9|32;1|0)m", "", str(diff)) if "\x1b" not in payload else None
    assert ours is None or not steers(ours)
    assert not steers(str(Diff.between(payload, payload)))
    cell = Page(diff._repr_html_())
    assert {tag for tag, _ in cell.tags} <= {"p", "del", "ins", "span"}
    assert all(set(names) <= {"style", "class"} for _, names in cell.tags)
    shown = "".join(cell.words)
    assert not steers(shown)
    assert escape_control(payload) in shown
    assert "mathjax_ignore" in diff._repr_html_()


@pytest.fixture(scope="module")
def harmless():
    return Page(to_html(trace_of("words before", "words after")))


@pytest.mark.parametrize("payload", first_fast([HTML[0], MARKDOWN[0], TERMINAL[0], BIDI[0]]))
def test_a_payload_is_inert_on_the_page(payload, harmless):
    """As draft, answer and name of a reward: the page has the tags it would have with other words."""
    page = to_html(trace_of(payload, f"{payload} once more", name=payload))
    found = Page(page)
    kinds = {tag for tag, _ in found.tags}
    assert kinds <= {tag for tag, _ in harmless.tags} | {"span", "del", "ins"}
    assert not any(name.startswith("on") for _, names in found.tags for name in names)
    assert not steers("".join(found.words))
    assert page.count("default-src 'none'") == 1


@pytest.mark.slow
@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_payload_is_inert_on_the_page(payload, harmless):
    test_a_payload_is_inert_on_the_page(payload, harmless)


def test_the_page_shows_the_numbers_and_loads_nothing():
    page = to_html(trace_of("It is 36.", "It is 37."))
    words = "".join(Page(page).words)
    for number in ("-1.000", "0.100", "1.100", "2.000", "1.500"):
        assert number in words
    assert "The refined answer was returned." in words
    assert not re.search(r"\b(src|href)=[\"'](?!#)", page)
    assert "<script" not in page
    assert "#010203" not in page


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_diff_holds_both_texts_whole(draft, answer):
    diff = Diff.between(draft, answer)
    assert (diff.draft, diff.answer) == (draft, answer)
    assert all(kind == "same" for kind, _ in Diff.between(draft, draft).pieces)


@given(st.text())
def test_what_is_escaped_neither_steers_nor_tags(text):
    assert not steers(escape_control(text))
    assert not set(escape_html(text)) & set("<>\"'")


def test_a_plot_has_a_panel_for_each_part_and_a_line_for_each_chain():
    figure = plot(trace_of("a", "b"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["energy", "nats per token", "reward: length"]
    assert figure._repr_png_().startswith(b"\x89PNG")  # in a notebook
    chains = [line.get_label() for line in figure.axes[0].lines if line.get_label().startswith("chain")]
    assert chains == ["chain 0", "chain 1"]
    assert list(figure.axes[2].lines[0].get_ydata()) == [0.1, 1.1]
    assert list(figure.axes[3].lines[0].get_ydata()) == [0.5, 0.5]  # only where a chain's text was scored


def test_a_search_with_latents_is_shown_by_round_and_group():
    """Its latents' norms and the divergence of its draws have panels; there is no gap, as draws are no mixtures."""
    figure = plot(latent_trace())
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["energy", "nats per token", "reward: safety"]
    assert "norm of the latent" in titles[3]
    assert "divergence" in titles[4]
    assert {axes.get_xlabel() for axes in figure.axes} == {"round"}
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert (lines["group 0"], lines["group 1"]) == ([3.0, 2.0, 1.0], [2.0, 1.0, 0.0])
    assert [list(line.get_ydata()) for line in figure.axes[3].lines] == [[0.0, 0.0, 0.0], [0.0, 0.1, 0.2]]
    assert [list(line.get_ydata()) for line in figure.axes[4].lines] == [[0.0, 0.0], [0.05, 0.05]]


def test_the_page_of_a_search_with_latents_has_their_numbers(harmless):
    words = Page(to_html(latent_trace())).words
    assert {"round", "group", "norm of the latent", "divergence"} <= set(words)
    assert not {"step", "chain", "gap"} & set(words)
    assert "Thin lines: groups" in " ".join(words)
    assert {"step", "chain", "gap"} <= set(harmless.words)


PLAN = {"draft_seconds": 3.14, "plan": "medium", "draws": 16, "rounds": 5, "seconds": 20.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "draft written in 3.1 s, refining for up to 20 s: 16 draws × 5 rounds"),
        ({"seconds": None}, "draft written in 3.1 s, refining: 16 draws × 5 rounds"),
        ({"plan": None, "draws": None, "rounds": None}, "draft written in 3.1 s, refining for up to 20 s"),
        (
            {"plan": None, "draws": 0, "rounds": 0, "seconds": 0.1},
            "draft written in 3.1 s; no search ends in 0.1 s, so the best of it and the answers beside it is returned",
        ),
    ],
)
def test_a_plan_is_told_in_words(changes, words):
    assert describe_plan(PLAN | changes) == words


def send_steps(bar, run_id, scores):
    for number, score in enumerate(scores):
        bar.on_custom_event("sea_step", {"step": number, "score": score, "seconds": 0.1}, run_id=run_id)


def test_a_bar_ends_at_the_planned_rounds(capsys):
    """It shows the best score so far; a further window of a long answer adds its rounds."""
    bar, run_id = ProgressBar(), uuid.uuid4()
    bar.on_custom_event("sea_plan", PLAN, run_id=run_id)
    send_steps(bar, run_id, [1.0, 3.0, 2.0])
    assert (bar._bars[run_id].n, bar._bars[run_id].total) == (3, 5)
    assert "score=3.00" in bar._bars[run_id].postfix
    bar.on_custom_event("sea_plan", PLAN | {"rounds": 2}, run_id=run_id)
    assert (bar._bars[run_id].n, bar._bars[run_id].total) == (3, 5)  # the first window ended early
    send_steps(bar, run_id, [5.0])
    bar.on_llm_end(None, run_id=run_id)
    assert not bar._bars
    assert capsys.readouterr().err.count(describe_plan(PLAN)) == 1


def test_there_is_no_bar_where_nothing_is_searched(capsys):
    bar, run_id = ProgressBar(), uuid.uuid4()
    bar.on_custom_event("sea_plan", PLAN | {"plan": None, "draws": 0, "rounds": 0}, run_id=run_id)
    assert not bar._bars
    assert "no search ends" in capsys.readouterr().err


def test_a_bar_counts_steps_whose_number_is_not_known(capsys):
    """Of chains there is no plan; other events change nothing."""
    bar, run_id = ProgressBar(), uuid.uuid4()
    bar.on_custom_event("another_event", {}, run_id=run_id)
    bar.on_custom_event("sea_plan", PLAN | {"plan": None, "draws": None, "rounds": None}, run_id=run_id)
    send_steps(bar, run_id, [1.0, 2.0])
    assert (bar._bars[run_id].n, bar._bars[run_id].total) == (2, None)
    bar.on_llm_error(None, run_id=run_id)
    assert not bar._bars
    assert "2round" in capsys.readouterr().err


def test_a_trace_without_a_score_says_so():
    page = to_html(Trace())
    assert "a reward failed" in page
    assert str(diff(Trace())) == ""


def test_a_trace_is_a_tuple_and_survives_pickling():
    trace = trace_of("a", "b")
    again = pickle.loads(pickle.dumps(trace))  # noqa: S301 - our own
    assert (again, again.before, again.candidates) == (trace, trace.before, trace.candidates)
    assert Trace() == ()


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"langchain-sea\[plot\]"):
        plot(trace_of("a", "b"))


def test_the_models_own_trace_and_a_bar_of_its_steps(monkeypatch):
    """`refinement` gives what `invoke` answers, with its trace; the bar counts the steps and is closed."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=1), plan=SMALL_PLAN, max_tokens=6)
    bar = ProgressBar()
    message = model.invoke("What is 14 + 23?", config={"callbacks": [bar]})
    found = model.refinement("What is 14 + 23?")
    assert found.text == message.content
    assert found.trace.after.text == found.text
    assert len(found.trace) == found.steps + 1 > 1  # where they start is the first row
    assert "refining" in shown.getvalue()
    assert not bar._bars
    assert found.draft in to_html(found.trace)
