"""`langchain-sea serve`: the application of `api.py` on Ray Serve, as many replicas as are asked for (extra `ray`)."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.errors import ExtraMissingError
from langchain_sea.serving.config import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add_arguments", "run", "serve"]

_DRAIN = 30.0  # seconds in which a replica that stops ends what it has begun
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(settings: dict[str, Any], *, host: str = "127.0.0.1", port: int = 8000, replicas: int = 1) -> None:
    """Start serving in the background; `ray.serve.shutdown()` ends it.

    Args:
        settings: tables of a settings file.
        host: to listen on.
        port: to listen on.
        replicas: each with one set of weights, and with one GPU where there are any.

    Raises:
        ValueError: a setting is none, or the door would stand open to the network.
        ExtraMissingError: Ray is not installed.
    """
    ray, ray_serve = _ray()
    from langchain_sea.serving.api_server import ServerConfig, application_of  # noqa: PLC0415 - brings FastAPI

    limits = ServerConfig.of(settings.get("server", {}))
    if not limits.api_keys and host not in _LOOPBACK:
        raise ValueError(
            f"host={host} is reached from other machines: set api_keys in [server], or serve on 127.0.0.1."
        )
    application_of(settings)  # a wrong setting is found here, not in a replica that never comes up
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray_serve.start(
        http_options={"host": host, "port": port},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    cores = max(1, torch.get_num_threads() // replicas)

    @ray_serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=4 * limits.waiting,  # our own limit answers 429; the proxy's would answer 503
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=_DRAIN,
        ray_actor_options={"num_gpus": 1} if torch.cuda.is_available() else {"num_cpus": 1},
    )
    @ray_serve.ingress(_factory(settings, cores))
    class Replica:
        """One set of weights."""

    deployed: Any = Replica
    ray_serve.run(deployed.bind(), name="sea", route_prefix="/", blocking=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    parser.add_argument(
        "--model", type=Path, required=True, help="TOML of SEAChatModel's settings and a table [server]"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted, then drain."""
    serve(read_settings(options.model), host=options.host, port=options.port, replicas=options.replicas)
    sys.stdout.write(f"serving on http://{options.host}:{options.port}/v1; Ctrl-C ends it\n")
    sys.stdout.flush()
    _, ray_serve = _ray()
    try:
        while True:
            time.sleep(3600)
    finally:
        ray_serve.shutdown()


def _factory(settings: dict[str, Any], threads: int) -> Callable[[], Any]:
    """What makes the application in a replica's own process: nothing of it is sent there."""

    def make() -> Any:  # noqa: ANN401 - FastAPI's
        from langchain_sea.serving.api_server import application_of  # noqa: PLC0415 - there

        torch.set_num_threads(threads)
        return application_of(settings)

    return make


def _ray() -> tuple[Any, Any]:
    try:
        import ray  # noqa: PLC0415 - the extra
        from ray import serve as ray_serve  # noqa: PLC0415 - same
    except ImportError as error:
        raise ExtraMissingError(
            f"serving runs on Ray Serve ({error}): pip install 'langchain-sea[ray]'"
        ) from error
    return ray, ray_serve
