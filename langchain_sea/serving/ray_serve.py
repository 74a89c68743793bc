"""The endpoint on Ray Serve, with as many replicas as asked for (extra `ray`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea.errors import ExtraMissingError
from langchain_sea.serving.config import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from fastapi import FastAPI

__all__ = ["serve", "shutdown"]

_SHUTDOWN_TIMEOUT = 30.0
"""Seconds in which a replica that stops finishes the requests it has started."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(settings: Mapping[str, Any], *, host: str = "127.0.0.1", port: int = 8000, replicas: int = 1) -> None:
    """Start serving in the background; `shutdown()` ends it.

    Args:
        settings: tables of a settings file.
        host: address to listen on.
        port: port to listen on.
        replicas: processes with a set of weights each, and with one GPU each where there are any.

    Raises:
        ValueError: a setting is not valid, or the endpoint would be open to the network without a key.
        ExtraMissingError: Ray is not installed.
    """
    ray, ray_serve = _import_ray()
    from langchain_sea.serving.api_server import make_app_from_settings

    config = ServerConfig.from_table(settings.get("server", {}))
    if not config.api_keys and host not in _LOOPBACK:
        raise ValueError(
            f"host={host} is reached from other machines: set api_keys in [server], or serve on 127.0.0.1."
        )
    make_app_from_settings(settings)  # a wrong setting fails here, not in a replica that never starts
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray_serve.start(
        http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR", "enable_access_log": False}
    )

    @ray_serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=4 * config.max_requests,  # our own limit answers 429; the proxy's would answer 503
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=_SHUTDOWN_TIMEOUT,
        ray_actor_options={"num_gpus": 1} if torch.cuda.is_available() else {"num_cpus": 1},
    )
    @ray_serve.ingress(_make_factory(settings, max(1, torch.get_num_threads() // replicas)))
    class Replica:
        """One process with a set of weights."""

    deployment: Any = Replica
    ray_serve.run(deployment.bind(), name="sea", route_prefix="/", blocking=False)


def shutdown() -> None:
    """End serving; replicas finish the requests they have started."""
    _, ray_serve = _import_ray()
    ray_serve.shutdown()


def _make_factory(settings: Mapping[str, Any], num_threads: int) -> Callable[[], FastAPI]:
    """Return a function that builds the application in the replica's own process, so that no weights are sent."""

    def make() -> FastAPI:
        from langchain_sea.serving.api_server import make_app_from_settings

        torch.set_num_threads(num_threads)
        return make_app_from_settings(settings)

    return make


def _import_ray() -> tuple[ModuleType, ModuleType]:
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError as error:
        raise ExtraMissingError(f"serving runs on Ray Serve ({error}): pip install 'langchain-sea[ray]'") from error
    return ray, ray_serve
