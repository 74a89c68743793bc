"""The application on a loopback port, in a thread of this process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import uvicorn

from langchain_sea import Budget, SEAChatModel
from langchain_sea.engine import engines
from langchain_sea.presets import PRESETS
from langchain_sea.serving.api_server import make_app
from langchain_sea.serving.config import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "test-key"
_DEFAULT = PRESETS["default"]
_FEW = replace(
    _DEFAULT.search_config,
    drafts=replace(_DEFAULT.search_config.drafts, num_drafts=4, num_kept=1),
    chains=replace(_DEFAULT.search_config.chains, num_chains=2),
)
PRESET = replace(_DEFAULT, search_config=_FEW)
"""The default one with few drafts and chains: what is tested is how answers travel, not how good they are."""
MODEL = SEAChatModel(model="tiny", seed=3, budget=Budget(max_steps=1, max_time=None), preset=PRESET, max_tokens=24)
CONFIG = ServerConfig(
    api_keys=(KEY, "another"),
    max_tokens=200,
    max_requests=8,
    body_timeout=2.0,
    rewards={"arithmetic": ["tiny"]},
    presets=("default", "paper"),
    budgets={"quick": Budget(max_steps=0, max_time=None)},
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def served(model: Any = MODEL, config: ServerConfig = CONFIG) -> Iterator[tuple[str, Any]]:
    """Its base URL, and the application."""
    app, port = make_app(model, config), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}", app
    finally:
        server.should_exit = True
        thread.join(10)


def idle(policy: Any) -> bool:
    """The policy's queue is free again, and soon."""
    until = time.monotonic() + 20
    while not engines.get_engine(policy).is_idle and time.monotonic() < until:
        time.sleep(0.01)
    return bool(engines.get_engine(policy).is_idle)
