"""Serve an OpenAI-compatible endpoint on Ray Serve until interrupted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument(
        "--settings", type=Path, required=True, help="TOML of SEAChatModel's settings and a table [server]"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1, help="processes with a set of weights each")


def run(options: argparse.Namespace) -> int:
    """Serve; Ctrl-C lets the replicas finish their requests, then ends them."""
    from langchain_sea.serving.config import read_settings
    from langchain_sea.serving.ray_serve import serve, shutdown

    serve(read_settings(options.settings), host=options.host, port=options.port, replicas=options.replicas)
    write_line(f"serving on http://{options.host}:{options.port}/v1; Ctrl-C ends it")
    try:
        while True:
            time.sleep(3600)
    finally:
        shutdown()
