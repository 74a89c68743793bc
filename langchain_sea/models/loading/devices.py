"""Whether a torch device is there, and what to do where it is not. Loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["require_device", "require_device_map"]

_SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")
"""What transformers understands as a map of the layers, beside the name of a device."""
_ALWAYS = ("cpu", "meta")


def require_device(device: str) -> None:
    """Check that this machine has a device.

    Args:
        device: as torch writes it, such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: there is no such device; the message lists those that there are.
    """
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is no device that torch knows. {_advise()}") from error
    if wanted.type in _ALWAYS:
        return
    count = _count(wanted.type)
    if not count:
        raise ValueError(f"device={device!r}: {_explain_absence(wanted.type)}. {_advise()}")
    if (wanted.index or 0) >= count:
        raise ValueError(f"device={device!r}: numbers begin with 0, and there {_are(count)}. {_advise()}")


def require_device_map(device_map: str | dict[str, Any]) -> None:
    """Check the devices that a `device_map` of transformers names.

    Raises:
        ValueError: there is no such device.
    """
    if isinstance(device_map, str):
        if device_map not in _SPREADS:
            require_device(device_map)
        return
    for place in device_map.values():
        if isinstance(place, int):  # of a GPU
            require_device(f"cuda:{place}")
        elif isinstance(place, str) and place != "disk":
            require_device(place)


def _count(kind: str) -> int:
    """Return how many devices of a kind there are; at most one of a kind that cannot be counted."""
    try:
        return int(torch.get_device_module(kind).device_count())
    except (AttributeError, RuntimeError):  # such as xla, which another package brings
        return int(_can_allocate(kind))


def _can_allocate(kind: str) -> bool:
    try:
        torch.empty(1, device=kind)
    except Exception:  # noqa: BLE001 - of whatever package brings the device
        return False
    return True


def _explain_absence(kind: str) -> str:
    if kind != "cuda":
        return f"torch {torch.__version__} has no device of the kind {kind} on this machine"
    if not (torch.version.cuda or torch.version.hip):
        return f"torch {torch.__version__} was built without CUDA; install a build with it (https://pytorch.org/get-started)"
    return f"torch {torch.__version__} finds no GPU; run `nvidia-smi` to see whether its driver does"


def _are(count: int) -> str:
    return "is 1 such device" if count == 1 else f"are {count} such devices"


def _list_devices() -> Iterator[str]:
    yield "cpu"
    for kind in ("cuda", "xpu", "mps"):
        yield from (f"{kind}:{n}" for n in range(_count(kind)))


def _advise() -> str:
    return f"Devices here: {', '.join(_list_devices())}. Leave device out to take the first GPU, or else the CPU."
