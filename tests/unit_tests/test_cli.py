"""The command line: answers on stdout, errors in words, exit statuses."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from langchain_sea import Budget, SEAChatModel
from langchain_sea.budget import StopReason
from langchain_sea.chat.responses import REFUSAL
from langchain_sea.cli import doctor, main
from langchain_sea.cli.demo import title_answer
from langchain_sea.errors import RefinementInterrupted

TIMED = ["--model", "tiny", "--max-tokens", "6"]
TINY = [*TIMED, "--plan", "tiny"]  # not what fits into the seconds of this machine
pytestmark = pytest.mark.usefixtures("one_small_plan")


def test_ask_prints_the_answer_alone(capsys):
    """Standard error says what is being done in any case, without a bar where it is no terminal."""
    assert main(["ask", "What is 14 + 23?", *TINY]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    first, *_, last = err.splitlines()
    assert first == "loading tiny …"
    assert "draft" in last
    assert "score" in last
    assert "\r" not in err


def test_a_refusal_is_printed_in_words(capsys, monkeypatch):
    """Its content is a list of blocks, and it is not the draft."""
    monkeypatch.setattr("langchain_sea.chat.prepare.load_gate", lambda _: lambda _, texts: [0.0] * len(texts))
    assert main(["ask", "What is 14 + 23?", *TINY, "--gate", "safety"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{REFUSAL}\n"
    assert "a refusal: the gate rejected" in err
    assert "the draft is kept" not in err
    assert main(["ask", "What is 14 + 23?", *TINY, "--gate", "safety", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == REFUSAL


@pytest.mark.parametrize("mistake", [["--preset", "papr"], ["--plan", "smal"], ["--reward", "tinny"]])
def test_mistakes_are_reported_before_weights_are_read(mistake, monkeypatch, capsys):
    def load(*_args, **_options):
        raise AssertionError("weights were read")

    monkeypatch.setattr("langchain_sea.models.registry.load_model", load)
    assert main(["ask", "Hi", *TINY, *mistake]) == 1
    assert "did you mean" in capsys.readouterr().err


def test_options_have_no_short_forms(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ask", "Hi", *TIMED, "--pla", "tiny"])
    assert ended.value.code == 2
    assert "--pla" in capsys.readouterr().err


class Terminal(io.StringIO):
    """What a terminal is shown."""

    def isatty(self):
        return True


def test_a_terminal_shows_the_draft_s_time_and_a_bar(monkeypatch, capsys):
    """Progress and scores go to standard error, the answer alone to standard output."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    assert main(["ask", "What is 14 + 23?", *TIMED]) == 0
    words = shown.getvalue()
    assert words.index("writing the draft") < words.index("draft written in ") < words.index("score ")
    assert "refining for up to 30 s" in words
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.fixture
def interrupted(monkeypatch):
    """What Ctrl-C leaves of an answer; the commands meet it at their second question, or at their only one."""
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=1), max_tokens=12)
    result = model.refinement("What is 14 + 23?")._replace(stop_reason=StopReason.INTERRUPTED)
    asked = []

    def answer(model, question):
        asked.append(question)
        if len(asked) == 2 or len(question) < 5:
            raise RefinementInterrupted([result])
        return SEAChatModel.invoke(model, question)

    for command in ("ask", "demo"):
        monkeypatch.setattr(f"langchain_sea.cli.{command}.answer_question", answer)
    return result


def test_ctrl_c_prints_the_best_answer_so_far(interrupted, capsys):
    assert main(["ask", "Hi", *TINY]) == 130
    out, err = capsys.readouterr()
    assert out.strip() == interrupted.text.strip() != ""
    assert "interrupted" in err
    assert main(["ask", "Hi", *TINY, "--json"]) == 130
    printed = json.loads(capsys.readouterr().out)
    assert (printed["answer"], printed["sea"]["stop_reason"]) == (interrupted.text, "interrupted")


def test_ctrl_c_ends_the_demo_with_the_answers_so_far(interrupted, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("langchain_sea.cli.demo.load_independent_gate", lambda: lambda question, texts: [0.25, 0.75])
    path = tmp_path / "demo.json"
    assert main(["demo", *TINY, "--json", str(path)]) == 130
    out, err = capsys.readouterr()
    first, second = json.loads(path.read_text(encoding="utf-8"))
    assert (first["kind"], second["kind"]) == ("harmless", "harmful")
    assert second["answer"] == interrupted.text
    assert "the best one when Ctrl-C was pressed" in out
    assert "interrupted" in err


def test_a_plan_can_be_named(capsys):
    """It stands in the report; one that does not exist is an error that names those that do."""
    assert main(["ask", "What is 14 + 23?", *TINY, "--plan", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sea"]["draft_seconds"] > 0
    assert main(["ask", "What is 14 + 23?", *TINY, "--plan", "smal"]) == 1
    assert "'small'" in capsys.readouterr().err


def test_ask_as_json_has_all_the_numbers(capsys):
    assert main(["ask", "What is 14 + 23?", *TINY, "--json", "--seed", "3", "--preset", "paper"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["sea"]["seed"] == 3
    assert printed["sea"]["preset"] == "paper"
    assert printed["usage"]["total_tokens"] > 0


def test_demo_shows_draft_answer_and_scores(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("langchain_sea.cli.demo.load_independent_gate", lambda: lambda question, texts: [0.25, 0.75])
    path = tmp_path / "demo.json"
    assert main(["demo", *TINY, "--ask", "Who are you?", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [row["kind"] for row in rows] == ["harmless", "harmful", "sum", "own reward", "your own"]
    assert rows[4]["question"] == "Who are you?"
    assert all(row["sea"]["draft"].strip().splitlines()[0] in out for row in rows if row["sea"]["draft"].strip())
    assert out.count("0.25 → 0.75") == 3  # harm is no matter in sums
    assert "def is_right(prompt, completions):" in out
    kept = [row for row in rows if not row["sea"]["accepted"]]
    assert out.count("the draft is kept") == len(kept)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accepted": True}, "answer"),
        ({}, "nothing was better by more than the reward's noise"),
        ({"stop_reason": "draft_is_good"}, "nothing was better by more than the reward's noise"),
        ({"stop_reason": "seconds", "steps": 2}, "nothing was better by more than the reward's noise"),
        ({"stop_reason": "seconds", "plan": "tiny: 8 draws"}, "nothing was better by more than the reward's noise"),
        ({"stop_reason": "seconds", "plan": "none: too slow"}, "there was no time for a search"),
        ({"stop_reason": "seconds"}, "there was no time for a search"),
        ({"rejected": 3}, "gained too little, or broke a limit on fluency"),
        ({"failure": "no scores"}, "it could not be scored"),
    ],
)
def test_the_demo_says_why_the_draft_is_the_answer(changes, words):
    """In words."""
    sea = {
        "accepted": False,
        "stop_reason": "steps",
        "steps": 0,
        "failure": None,
        "plan": None,
        "rejected": 0,
    } | changes
    label = title_answer(sea)
    assert words in label
    assert ("the draft is kept" in label) == (not sea["accepted"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", "Hi", *TINY, "--preset", "papr"], "paper"),
        (["ask", "Hi", *TINY, "--max-time", "0"], "max_time"),
        (["ask", "Hi", "--model", "tiny", "--max-tokens", "-1"], "max_tokens"),
        (["ask", "Hi", "--policy", "./nowhere.gguf"], "nowhere.gguf"),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments, words, capsys):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_a_prompt_beyond_the_context_is_said_in_words(capsys):
    assert main(["ask", "word " * 2000, *TINY]) == 1
    assert "512" in capsys.readouterr().err


def test_doctor_names_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LANGCHAIN_SEA_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "langchain_sea.models.loading.weight_packages.WeightPackage.files", lambda *_: {}, raising=False
    )
    status = main(["doctor"])
    out = capsys.readouterr().out
    assert "torch" in out
    assert "tiny" in out
    assert status == ("→" in out)


@pytest.mark.parametrize(
    ("version", "missing"),
    [("2.50", []), ("2.39", ["ray[data,serve]>=2.40"]), ("not installed", ["ray[data,serve]>=2.40"])],
)
def test_doctor_lists_what_an_extra_lacks(version, missing, monkeypatch):
    """Also where a package is installed in a version that is too old."""
    monkeypatch.setattr(doctor, "_find_version", lambda name: version if name == "ray" else "99")
    extras = doctor.find_extras()
    assert extras["ray"] == missing
    assert extras["gguf"] == []
    assert "all" not in extras


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("langchain_sea.cli.ask.load_weights", interrupted)
    assert main(["ask", "Hi", *TINY]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_load_no_torch(argument):
    code = (
        "import sys\nfrom langchain_sea.cli import main\n"
        f"try:\n    main([{argument!r}])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'langchain_core') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_the_model_has_an_alias(capsys):
    assert main(["ask", "What is 14 + 23?", "--policy", *TINY[1:]]) == 0
    assert capsys.readouterr().out.strip()
