"""Files that a user names: missing, unreadable, empty or of another form. One line says what is wrong, the status is 2."""

from __future__ import annotations

import pytest

from langchain_sea.cli import main
from langchain_sea.core.files import require_folder_of
from langchain_sea.errors import FileError, WeightsNotFoundError
from langchain_sea.evaluation import Evaluation, read_cases
from langchain_sea.models.template_source import read_chat_template
from langchain_sea.rewards import registry
from langchain_sea.rewards.hidden_state_head import HiddenStateHead
from langchain_sea.rewards.pair_classifier import PairClassifierGate
from langchain_sea.safety import GuardConfig
from langchain_sea.serving.config import ServerConfig, read_settings
from langchain_sea.serving.rows import AnswerStore, read_input
from langchain_sea.training.examples import read_examples

READERS = {
    "examples": (read_examples, "label"),
    "cases": (read_cases, "`question`"),
    "rows": (lambda path: list(read_input(path)), "`prompt`"),
    "settings": (read_settings, "SEAChatModel"),
}
CONTENTS = {
    "missing": (None, "No such file"),
    "empty": (b"", "Expected|no examples"),
    "not text": (b"\xff\xfe", "not text in UTF-8"),
    "not JSON": (b'\n{"prompt": "a", "completion": "b", "label": 1}\n{"a"\n', "line 3: (no|not) JSON|not TOML"),
    "no object": (b"3\n", "JSON|no column|not TOML"),
    "no key": (b'{"x": 1}\n', "no `question`|no column|keys|not TOML"),
}


@pytest.mark.parametrize(("read", "expected"), READERS.values(), ids=READERS)
@pytest.mark.parametrize(("content", "words"), CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_cannot_be_used_is_named_with_what_it_should_hold(tmp_path, read, expected, content, words):
    """Whatever is wrong with it, and whoever reads it. Settings may be empty: all have defaults."""
    path = tmp_path / "data.jsonl"
    if content is not None:
        path.write_bytes(content)
    if content == b"" and read is read_settings:
        assert read(path) == {}
        return
    with pytest.raises(FileError, match=rf"data\.jsonl.*({words})") as raised:
        read(path)
    assert "\n" not in str(raised.value)
    if "Expected" in str(raised.value):
        assert expected in str(raised.value)


@pytest.mark.parametrize(("read", "expected"), READERS.values(), ids=READERS)
def test_a_folder_is_no_file(tmp_path, read, expected):
    folder = tmp_path / "data.jsonl"
    folder.mkdir()
    with pytest.raises(FileError, match=rf"[Dd]irectory.*Expected: .*{expected}"):
        read(folder)


MARKED = {
    "examples.jsonl": (read_examples, '{"prompt": "a", "completion": "b", "label": 1}\r\n'),
    "cases.jsonl": (read_cases, '{"question": "q"}\r\n'),
    "CASES.CSV": (read_cases, "question,answer\r\nq,\r\nq,2\r\n"),
    "rows.jsonl": (lambda path: list(read_input(path)), '{"prompt": "q"}\r\n'),
    "settings.toml": (read_settings, 'model = "tiny"\r\n'),
    "policy.toml": (GuardConfig.read, 'mode = "monitor"\r\n'),
    "template.jinja": (read_chat_template, "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"),
}


@pytest.mark.parametrize(("name", "read", "text"), [(name, *rest) for name, rest in MARKED.items()])
def test_files_are_read_as_windows_and_excel_write_them(tmp_path, name, read, text):
    """With a byte order mark and in capitals."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    first = read(path)
    path.write_text(text, encoding="utf-8-sig", newline="")
    assert read(path) == first


def test_an_empty_cell_of_a_table_is_no_answer(tmp_path):
    (tmp_path / "CASES.CSV").write_text("question,answer\nq,\nq,0\n")
    assert [case.gold for case in read_cases(tmp_path / "CASES.CSV")] == [None, "0"]


def test_a_field_that_is_too_long_for_csv_is_named_with_its_line(tmp_path):
    (tmp_path / "cases.csv").write_text(f"question\nq\n{'x' * 200_000}\n")
    with pytest.raises(FileError, match=r"cases\.csv, line 3: .*field limit.*\.jsonl"):
        read_cases(tmp_path / "cases.csv")


def test_a_parquet_file_is_one(tmp_path):
    pytest.importorskip("pyarrow", reason="it comes with the extra ray")
    (tmp_path / "rows.parquet").write_bytes(b"no")
    with pytest.raises(FileError, match=r"no Parquet file.*Expected: a \.jsonl file"):
        list(read_input(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('model = "tiny"\nmax_tokenz = 3', "did you mean 'max_tokens'"),
        ('model = "tiny"\n[budget]\nmax_tme = 3', "did you mean 'max_time'"),
        ('model = "tiny"\nmax_tokens = "many"\non_timeout = "beest"', "max_tokens: .*; on_timeout: .*'best'"),
        ('model = "tiny"\nbudget = 3', r"\[budget\] must be a table"),
        ('model = "tiny"\nserver = 3', r"\[server\] must be a table"),
        ('model = "tiny"\n[server]\nmax_requets = 3', "did you mean 'max_requests'"),
        ('model = "tiny"\n[server]\nmax_requests = "64"', r"\[server\] max_requests: .* integer, and is '64'"),
        ('model = "tiny"\n[server]\nmax_n = 0', r"\[server\] max_n: .* 1, and is 0"),
        ('model = "tiny"\n[server]\napi_keys = [""]', r"\[server\] api_keys: 0: it is blank"),
        ('model = "tiny"\n[server]\napi_keys = " "', r"\[server\] api_keys: 0: it is blank"),
        ('model = "tiny"\n[server]\napi_keys = [1234]', r"\[server\] api_keys: 0: .* string"),
        ('model = "tiny"\n[server]\napi_keys = 1234', r"\[server\] api_keys: a list of texts is expected"),
        ('model = "tiny"\n[server]\npresets = "papr"', r"\[server\] presets: .*'paper'"),
        ('model = "tiny"\n[server.rewards]\nsafe = ["safty"]', r"\[server\] rewards: safe: .*'safety'"),
        ('model = "tiny"\n[server]\nbudgets = 3', r"\[server.budgets\] must be a table"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path, text, words):
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(FileError, match=rf"model\.toml: .*{words}") as raised:
        read_settings(tmp_path / "model.toml")
    assert "\n" not in str(raised.value)


def test_one_text_where_a_list_is_expected_is_one_of_them():
    """Not its letters."""
    config = ServerConfig.from_table({"api_keys": "secret", "presets": "paper", "rewards": {"safe": "safety"}})
    assert (config.api_keys, config.presets, config.rewards) == (("secret",), ("paper",), {"safe": ["safety"]})


def test_the_folder_of_answers_is_no_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(FileError, match="out"):
        AnswerStore(tmp_path / "out", "jsonl")


@pytest.mark.parametrize("load", [HiddenStateHead.load, PairClassifierGate.load])
@pytest.mark.parametrize("name", ["nowhere.safetensors", "."])
def test_a_reward_s_file_must_be_there(tmp_path, load, name):
    with pytest.raises(WeightsNotFoundError, match=r"(does not exist|is a folder): pass the \.safetensors file"):
        load(tmp_path / name)


def test_where_a_head_is_written_is_checked_before_it_is_fitted(tmp_path):
    """Not after hours of it."""
    require_folder_of(tmp_path / "head.safetensors")
    for path in (tmp_path, tmp_path / "nowhere" / "head.safetensors"):
        with pytest.raises(FileError, match="folder"):
            require_folder_of(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit-reward", "data.jsonl", "--model", "tiny", "--out", "head.safetensors"],
        ["fit-reward", "data.jsonl", "--model", "tiny", "--out", "nowhere/head.safetensors"],
        ["batch", "data.jsonl", "out", "--settings", "model.toml"],
        ["serve", "--settings", "model.toml"],
        ["eval", "data.jsonl", "--model", "tiny"],
        ["demo", "--model", "tiny", "--json", "nowhere/out.json"],
        ["ask", " ", "--model", "tiny"],
    ],
)
def test_the_exit_status_is_two(tmp_path, monkeypatch, capsys, arguments):
    """As for an option that argparse refuses."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--json", "--html", "--rows", "gate"])
def test_what_an_evaluation_needs_at_its_end_is_there_before_the_first_answer(tmp_path, monkeypatch, capsys, option):
    """Not after hours of answers."""

    def load_gate(_name):
        raise WeightsNotFoundError("no folder of the gate")

    def run(*_, **__):
        pytest.fail("an answer was begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load_gate", load_gate)
    monkeypatch.setattr(Evaluation, "run", run)
    (tmp_path / "mine.jsonl").write_text('{"question": "q"}')
    more = [] if option == "gate" else [option, "nowhere/file"]
    assert main(["eval", "mine.jsonl", "--model", "tiny", *more]) == (1 if option == "gate" else 2)
    assert ("no folder of the gate" if option == "gate" else "no folder nowhere") in capsys.readouterr().err
