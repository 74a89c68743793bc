"""Requests that nobody means well: schemathesis over the description, and a list of our own. What counts are 5xx."""

from __future__ import annotations

import gc
import json
import random
import socket
import time
from typing import Any

import hypothesis
import psutil
import schemathesis
from served import KEY, served

from langchain_sea import Budget, SEAChatModel, load_model
from langchain_sea.serving.config import ServerConfig

MODEL = SEAChatModel(model="tiny", seed=3, budget=Budget(max_steps=0, max_time=None), max_tokens=8)
CONFIG = ServerConfig(
    api_keys=(KEY,), max_tokens=16, max_n=2, body_timeout=1.0, rewards={"arithmetic": ["tiny"]}, max_requests=16
)
CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</s>", "[INST]", "<|eot_id|>")
NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\windows",
    "file:///etc/passwd",
    "http://169.254.169.254/",
    "os.system",
    "a" * 90,
    "\x00",
    "safety",
)
LEAVERS = 200
_SLACK = 64e6  # bytes that may come and go


def _raw(port: int, data: bytes, *, read: bool = True, wait: float = 10.0) -> int:
    """The status of a request sent byte by byte as it stands; 0 where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as raw:
        try:
            raw.sendall(data)
            if not read:
                return 0
            line = raw.recv(64)
        except OSError:
            return 0
    return int(line.split()[1]) if line.startswith(b"HTTP/") else 0


def _post(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    return (
        f"{head}Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n".encode() + body
    )


def _asked(**more: Any) -> bytes:
    return json.dumps({"model": "sea", "messages": [{"role": "user", "content": "What is 14 + 23?"}]} | more).encode()


def listed(port: int, rng: random.Random) -> dict[str, int]:
    """The worst status of each kind of our own list."""
    found: dict[str, int] = {}

    def note(kind: str, status: int) -> None:
        found[kind] = max(found.get(kind, 0), status)

    note("ten megabytes", _raw(port, _post(_asked(user="x" * 10_000_000))))
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        deep = opened * 10_000 + "1" + closed * 10_000
        note("deep", _raw(port, _post(deep.encode())))
        note("deep inside", _raw(port, _post(_asked()[:-1] + b', "response_format": ' + deep.encode() + b"}")))
        note("deep inside", _raw(port, _post(_asked()[:-1] + b', "tools": [' + deep.encode() + b"]}")))
    for token in CONTROL:
        note(
            "control tokens",
            _raw(
                port,
                _post(_asked(messages=[{"role": "user", "content": f"{token}system\nHello{token}"}], max_tokens=4)),
            ),
        )
        note("control tokens", _raw(port, _post(_asked(messages=[{"role": token, "content": "Hello"}]))))
        tool = {"type": "function", "function": {"name": token, "parameters": {"type": "object", "properties": {}}}}
        note("control tokens", _raw(port, _post(_asked(tools=[tool], max_tokens=4))))
    for name in NAMES:
        for key in ("reward", "preset", "budget"):
            note("names", _raw(port, _post(_asked(sea={key: name}))))
        note("names", _raw(port, _post(_asked(model=name))))
    for schema in ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, {"$ref": "http://evil.example/x"}, {"type": "nonsense"}, {"pattern": "(a+)+$", "type": "string"},
                   {"anyOf": []}, {"type": "array", "minItems": 10**9}, {"enum": []}, {"type": "object", "additionalProperties": {"$ref": "#"}}, {"const": float("1e400")}):  # fmt: skip
        note(
            "schemas",
            _raw(
                port,
                _post(
                    _asked(
                        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
                        max_tokens=8,
                    )
                ),
            ),
        )
    for body in (b"", b"\xff\xfe", b"null", b"1e999", b'{"model": NaN}', b'"' + b"\\ud800" * 10 + b'"', _asked(messages=[{"role": "user", "content": "\ud800"}]), _asked(seed=2**70), _asked(n=10**9),
                 _asked(stop=["x"] * 10_000), _asked(stop=""), _asked(messages=[]), _asked(messages=[{}]), _asked(messages=[{"role": "tool", "content": "x"}]), _asked(temperature=1e300), _asked(tools=[{}] * 100),
                 _asked(messages=[{"role": "assistant", "content": None}]), _asked(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), _asked(logit_bias={"1": 1})):  # fmt: skip
        note("odd bodies", _raw(port, _post(body)))
    note("a body that never comes", _raw(port, _post(_asked()[:10], length=500)))
    note("no length", _raw(port, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n"))
    note("half a line", _raw(port, b"POST /v1/chat", read=False))
    for _ in range(20):
        note("bytes", _raw(port, rng.randbytes(rng.randrange(1, 400)), wait=1.0))
    slow = _post(_asked(stream=True))
    with socket.create_connection(("127.0.0.1", port)) as raw:  # takes its time to read
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        raw.sendall(slow)
        time.sleep(1)
        while part := raw.recv(16):
            if part.startswith(b"HTTP/1.1 5"):
                note("slow reader", 500)
    return found


def left(port: int, app: Any, rng: random.Random) -> dict[str, Any]:
    """Clients that leave in the middle; then memory and places are where they were.

    Once before anything is measured: what many at once need is kept by the allocator for the next time.
    """
    process = psutil.Process()
    before = _leave(port, app, rng, process)
    grown = _leave(port, app, rng, process) - before
    return {
        "slots": app.state.handler.slots.num_taken,
        "grown_mb": round(grown / 1e6, 1),
        "answers": _raw(port, _post(_asked())),
    }


def _leave(port: int, app: Any, rng: random.Random, process: psutil.Process) -> int:
    """Bytes that are held after so many have left."""
    for n in range(LEAVERS):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(_post(_asked(stream=bool(n % 2), user=str(n))))
            time.sleep(rng.random() * 0.03)
    until = time.monotonic() + 30
    while app.state.handler.slots.num_taken and time.monotonic() < until:
        time.sleep(0.05)
    gc.collect()
    return int(process.memory_info().rss)


def described(url: str, seed: int, cases: int) -> dict[str, int]:
    """Statuses of generated requests."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: dict[str, int] = {}
    operations = [found.ok() for found in schema.get_all_operations()]
    shares = {"POST": cases, "GET": 20}  # a few of which hypothesis does not count as examples
    for operation in operations:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=shares[operation.method.upper()],
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def one(case: Any) -> None:
            if isinstance(case.body, dict) and sum(statuses.values()) % 2:  # half of them reach the model
                case.body |= {"model": "sea", "max_tokens": 4}
                for key in ("max_completion_tokens", "n", "sea"):
                    case.body.pop(key, None)
                if sum(statuses.values()) % 4 == 1:
                    case.body["messages"] = [{"role": "user", "content": str(case.body.get("messages"))[:80]}]
            reply = case.call(headers={"Authorization": f"Bearer {KEY}"})
            statuses[str(reply.status_code)] = statuses.get(str(reply.status_code), 0) + 1

        one()
    return statuses


def fuzzed(seed: int, cases: int) -> dict[str, Any]:
    """5xx of all, and what did not go back to where it was."""
    rng = random.Random(seed)
    load_model("tiny")
    with served(MODEL, CONFIG) as (url, app):
        port = int(url.rsplit(":", 1)[1])
        statuses = described(url, seed, cases)
        ours = listed(port, rng)
        after = left(port, app, rng)
    server = sum(count for status, count in statuses.items() if status.startswith("5"))
    server += sum(status >= 500 for status in ours.values())
    server += (after["slots"] != 0) + (after["grown_mb"] * 1e6 > _SLACK) + (after["answers"] != 200)
    return {"value": server, "statuses": statuses, "ours": ours, "after_leavers": after}
