"""The audit file under two writers, a crash, a full disk and a hanging disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from langchain_sea.safety import AuditLog, CallContext, ContextMessage, GuardConfig, GuardPipeline, PolicyError, verify
from langchain_sea.safety.audit.audit_log import read_rows
from langchain_sea.safety.tool_call import freeze_calls

SCHEMAS = {"note": {"type": "object", "properties": {"text": {}}}}


def write_row(audit, text="hello"):
    context = CallContext((ContextMessage("user", "x"),), SCHEMAS, GuardConfig())
    (decision,) = GuardPipeline(audit=audit)(
        freeze_calls([{"id": "1", "name": "note", "args": {"text": text}}]), context
    )
    return decision.outcome


def test_two_writers_of_one_file_keep_one_chain(tmp_path):
    path = tmp_path / "a.jsonl"
    first, second = AuditLog(path), AuditLog(path)
    assert [write_row(audit) for audit in (first, second, first, second, second)] == ["allowed"] * 5
    assert verify(path) == []
    assert [row["row"] for row in read_rows(path)] == list(range(5))
    threads = [threading.Thread(target=write_row, args=(audit,)) for audit in (first, second) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(path) == []
    assert len(list(read_rows(path))) == 15


def test_two_processes_keep_one_chain(tmp_path):
    path = tmp_path / "a.jsonl"
    program = f"import test_audit_log as t; a = t.AuditLog({str(path)!r}); [t.write_row(a) for _ in range(20)]"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}  # noqa: PTH120
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert verify(path) == []
    assert len(list(read_rows(path))) == 40


@pytest.mark.parametrize("num_rows", [0, 1, 3])
@pytest.mark.parametrize("rest", [b'{"before": "abc', b"x" * 200_000, b"\xff"])
def test_a_row_that_a_crash_left_is_moved_away_and_noted(tmp_path, num_rows, rest):
    path = tmp_path / "a.jsonl"
    audit = AuditLog(path)
    for _ in range(num_rows):
        write_row(audit)
    with path.open("ab") as file:
        file.write(rest)
    assert verify(path) == [f"row {num_rows} is cut off"]
    assert write_row(AuditLog(path)) == "allowed"
    assert verify(path) == []
    *_, row = read_rows(path)
    assert row["cut_off"]["bytes"] == len(rest)
    assert path.with_name("a.jsonl.cut").read_bytes() == rest + b"\n"
    assert write_row(audit) == "allowed"  # another process sees the new end
    *_, row = read_rows(path)
    assert "cut_off" not in row
    assert verify(path) == []


def test_a_full_disk_blocks_its_call_and_leaves_no_half_row(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    audit = AuditLog(path)
    write_row(audit)
    real_write, before = os.write, path.read_bytes()

    def write_half(descriptor, data):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[: len(data) - 50])

    with monkeypatch.context() as patch:
        patch.setattr("langchain_sea.safety.audit.audit_file.os.write", write_half)
        assert write_row(audit) == "unavailable"
    assert path.read_bytes() == before
    assert write_row(audit) == "allowed"
    assert verify(path) == []


def test_a_hanging_disk_blocks_its_call_at_the_deadline(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("langchain_sea.safety.audit.audit_file.os.fsync", lambda _: release.wait())
    audit = AuditLog(tmp_path / "a.jsonl", deadline=0.05)
    assert write_row(audit) == "unavailable"
    assert write_row(audit) == "unavailable"  # the first one still holds the file
    release.set()


def test_rows_cut_off_at_the_end_show_by_a_head_kept_elsewhere(tmp_path):
    path = tmp_path / "a.jsonl"
    audit = AuditLog(path)
    heads = [audit.head]
    for _ in range(4):
        write_row(audit)
        heads.append(audit.head)
    assert all(verify(path, head=head) == [] for head in heads)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert verify(path) == []
    assert [bool(verify(path, head=head)) for head in heads] == [False, False, False, True, True]
    assert write_row(audit) == "unavailable"  # rows that this process wrote are gone


def test_a_row_holds_half_a_character_as_it_was_written(tmp_path):
    path = tmp_path / "a.jsonl"
    audit = AuditLog(path, keep="full")
    audit._append({"call": {"text": "\ud800"}})
    assert verify(path) == []
    assert next(read_rows(path))["call"]["text"] == "\ud800"
    assert write_row(AuditLog(path)) == "allowed"


def test_a_broken_chain_is_still_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    audit = AuditLog(path)
    write_row(audit)
    write_row(audit)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(PolicyError, match="broken"):
        AuditLog(path)
