"""Sixty-four clients at more than can be answered, on Ray Serve with two replicas, one of which is killed on the way."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
from served import free_port

from langchain_sea.serving.ray_serve import serve

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS, BUDGET, STEP = 64, 10.0, 1.0
SETTINGS: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 16,
    "budget": {"max_steps": 1, "max_time": BUDGET},
    "preset": {
        "base": "default",
        "search_config": {"drafts": {"num_drafts": 4, "num_kept": 2}, "chains": {"num_chains": 2}},
    },
    "rewards": [],
    "server": {"max_requests": 8},
}


async def client(url: str, until: float, rng: random.Random, rows: list[dict[str, Any]]) -> None:
    """Asks until the time is over, each question with a number that nobody else has."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        while time.monotonic() < until:
            nonce = rng.randrange(10**8, 10**9)
            body = {
                "model": "sea",
                "messages": [{"role": "user", "content": f"What is {nonce} + 1?"}],
                "seed": nonce,
                "user": str(nonce),
            }
            began = time.monotonic()
            row: dict[str, Any] = {"nonce": nonce, "at": began}
            try:
                reply = await http.post(f"{url}/v1/chat/completions", json=body)
                row |= {
                    "status": reply.status_code,
                    "seconds": time.monotonic() - began,
                    "retry": reply.headers.get("retry-after"),
                }
                if reply.status_code == 200:
                    row["text"] = reply.json()["choices"][0]["message"]["content"]
            except httpx.HTTPError as error:  # said so, by the connection
                row |= {"status": -1, "seconds": time.monotonic() - began, "error": type(error).__name__}
            rows.append(row)
            if row["status"] == 429:
                await asyncio.sleep(float(row["retry"] or 1) * (0.5 + rng.random()))


def replicas() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if "ServeReplica:sea" in " ".join(p.info["cmdline"] or [])]


async def crowd(url: str, seconds: float, seed: int) -> tuple[list[dict[str, Any]], float]:
    rows: list[dict[str, Any]] = []
    until, killed = time.monotonic() + seconds, [0.0]

    async def killer() -> None:
        await asyncio.sleep(seconds / 2)
        victims = replicas()
        if victims:
            killed[0] = time.monotonic()
            victims[0].send_signal(signal.SIGKILL)

    await asyncio.gather(killer(), *[client(url, until, random.Random(f"{seed} {n}"), rows) for n in range(CLIENTS)])
    return rows, killed[0]


def loaded(_folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """`mixed_answers`, `unanswered`, and what was honest of the rest."""
    import ray
    from ray import serve as ray_serve

    from langchain_sea.serving.config import make_model

    port = free_port()
    serve(SETTINGS, port=port, replicas=2)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(8):  # both replicas load
            httpx.post(
                f"{url}/v1/chat/completions",
                json={"model": "sea", "messages": [{"role": "user", "content": "Hello"}]},
                timeout=120,
                trust_env=False,
            )
        rows, killed = asyncio.run(crowd(url, seconds, seed))
    finally:
        ray_serve.shutdown()
        ray.shutdown()
    by = {status: [row for row in rows if row["status"] == status] for status in {row["status"] for row in rows}}
    answered, refused = by.get(200, []), by.get(429, [])
    odd = [row for row in rows if row["status"] not in (200, 429)]
    near = [row for row in odd if killed and row["at"] - 1 <= killed + 10 and row["at"] + row["seconds"] >= killed - 1]
    alone = make_model(SETTINGS)
    sample = random.Random(seed).sample(answered, min(60, len(answered)))
    mixed = sum(
        alone.invoke(f"What is {row['nonce']} + 1?", seed=row["nonce"]).content != row["text"] for row in sample
    )
    times = sorted(row["seconds"] for row in answered)
    p99 = times[int(0.99 * (len(times) - 1))] if times else None
    return {
        "mixed_answers": {"value": mixed, "compared_with_alone": len(sample)},
        "unanswered": {"value": len(odd) - len(near), "odd": [{k: row.get(k) for k in ("status", "error")} for row in odd[:20]]},
        "load": {"answered": len(answered), "refused_429": len(refused), "without_retry_after": sum(not row["retry"] for row in refused),
                 "failed_with_the_replica": len(near), "p99_seconds": p99, "limit": BUDGET + STEP, "clients": CLIENTS, "seconds": seconds},
    }  # fmt: skip


if __name__ == "__main__":
    import pathlib

    print(json.dumps(loaded(pathlib.Path(), 0, 20), indent=1))
