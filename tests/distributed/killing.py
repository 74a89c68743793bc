"""A batch whose workers, drivers and node are killed, against one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from langchain_sea.serving.ray_data import PARTS_PER_BLOCK
from langchain_sea.serving.rows import AnswerStore

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
model = "tiny"
max_tokens = 12
[budget]
max_steps = 1
max_time = 0
[preset]
base = "default"
[preset.search_config.drafts]
num_drafts = 4
num_kept = 2
[preset.search_config.chains]
num_chains = 2
"""
BLOCK, WORKERS = 32, 2
TARGETS = ("worker", "worker", "worker", "driver", "node")
LONGEST = 1200.0


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from langchain_sea.cli import main; sys.exit(main())", "batch", str(folder / "in.jsonl"), str(folder / out), "--settings",
               str(folder / "model.toml"), "--block", str(BLOCK), "--workers", str(WORKERS)]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=env
    )


def victims(driver: int, kind: str) -> list[psutil.Process]:
    """Processes of this run that are of that kind."""
    if kind == "driver":
        return [psutil.Process(driver)] if psutil.pid_exists(driver) else []
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if (
            (kind == "worker" and line.startswith("ray::") and "WriteActor" in line)
            or (kind == "worker" and "MapWorker" in line)
        ) or (kind == "node" and "raylet/raylet" in line):
            found.append(process)
    return found


def swept() -> None:
    """Nothing of a killed cluster stays."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if (
            line.startswith("ray::")
            or "/ray/core/src/ray/" in line
            or "/ray/_private/" in line
            or "/ray/dashboard/" in line
        ):
            try:
                process.kill()
            except psutil.Error:
                continue


def done(folder: Path, out: str) -> int:
    return len(list((folder / out).glob("part-*.jsonl")))


def run(folder: Path, out: str, kills: int, rng: random.Random) -> dict[str, int]:
    """To the end, with so many kills at random moments; a driver that died is started again, as a person would."""
    counts, parts = (
        {"worker": 0, "driver": 0, "node": 0, "starts": 0},
        -(-len((folder / "in.jsonl").read_text().splitlines()) * PARTS_PER_BLOCK // BLOCK),
    )
    marks = sorted(rng.sample(range(1, parts), kills)) if kills else []  # after so many were written
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        process = start(folder, out)
        counts["starts"] += 1
        while process.poll() is None and time.monotonic() < until:
            if marks and done(folder, out) >= marks[0]:
                time.sleep(rng.random())
                kind = TARGETS[rng.randrange(len(TARGETS))]
                found = victims(process.pid, kind)
                if found and process.poll() is None:
                    marks.pop(0)
                    found[rng.randrange(len(found))].send_signal(signal.SIGKILL)
                    counts[kind] += 1
                    if kind == "node":  # what hangs on a node that is gone is ended by whoever watches it
                        time.sleep(2)
                        process.kill()
            time.sleep(0.1)
        if process.poll() == 0:
            return counts
        process.kill()
        swept()
    raise TimeoutError(f"no end in {LONGEST} s: {counts}")


def killed(folder: Path, seed: int, rows: int, kills: int) -> dict[str, Any]:
    """`lost`, `duplicated`, `text_equal`, `repeated_blocks_per_kill`."""
    rng = random.Random(seed)
    (folder / "model.toml").write_text(SETTINGS, encoding="utf-8")
    asked = [{"prompt": f"What is {rng.randint(10, 99)} + {rng.randint(10, 99)}?", "id": n} for n in range(rows)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    began = time.monotonic()
    run(folder, "calm", 0, rng)
    calm = time.monotonic() - began
    counts = run(folder, "killed", kills, rng)
    swept()
    texts = {row["id"]: row["answer"] for row in AnswerStore(folder / "calm", "jsonl").read_rows()}
    found = list(AnswerStore(folder / "killed", "jsonl").read_rows())
    answers = {row["id"]: row["answer"] for row in found}
    begun = (folder / "killed/attempts/log").read_text(encoding="utf-8").splitlines()
    written = done(folder, "killed")
    return {
        "lost": rows - len(answers),
        "duplicated": len(found) - len(answers),
        "text_equal": sum(answers.get(n) == text for n, text in texts.items()) / rows,
        "repeated_blocks_per_kill": {
            "value": round((len(begun) - written) / PARTS_PER_BLOCK / max(1, kills), 3),
            "parts_begun": len(begun),
            "parts": written,
            "parts_a_block": PARTS_PER_BLOCK,
        },
        "kills": counts | {"calm_seconds": round(calm), "killed_seconds": round(time.monotonic() - began - calm)},
    }
