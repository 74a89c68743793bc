"""The command line: answers on stdout, errors in words, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from langchain_sea.cli import main

TINY = ["--model", "tiny", "--max-tokens", "12"]


def test_ask_prints_the_answer_alone(capsys):
    assert main(["ask", "What is 14 + 23?", *TINY]) == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert "score" not in out
    assert err == ""


def test_ask_as_json_has_all_the_numbers(capsys):
    assert main(["ask", "What is 14 + 23?", *TINY, "--json", "--seed", "3", "--preset", "paper"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sea"]["seed"] == 3
    assert found["sea"]["preset"] == "paper"
    assert found["usage"]["total_tokens"] > 0


def test_demo_shows_draft_answer_and_scores(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("langchain_sea.cli.demo.load_independent_gate", lambda: lambda question, texts: [0.25, 0.75])
    path = tmp_path / "demo.json"
    assert main(["demo", *TINY, "--ask", "Who are you?", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [row["kind"] for row in rows] == ["harmless", "harmful", "maths", "your own"]
    assert rows[3]["question"] == "Who are you?"
    assert all(row["sea"]["draft"].strip().splitlines()[0] in out for row in rows if row["sea"]["draft"].strip())
    assert out.count("0.25 → 0.75") == 4


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
    assert main(["ask", "What is 14 + 23?", "--policy", "tiny", "--max-tokens", "12"]) == 0
    assert capsys.readouterr().out.strip()
