"""A small cache of the most recently used values, shared by threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["LRUCache"]

V = TypeVar("V")


class LRUCache(Generic[V]):
    """The last few values by key. It may be used from several threads; pickling and copying empty it."""

    def __init__(self, max_size: int) -> None:
        """Start with no values.

        Args:
            max_size: how many values to keep; the least recently used one is dropped first.

        Raises:
            ValueError: `max_size` is below 1.
        """
        if max_size < 1:
            raise ValueError(f"max_size={max_size} must be at least 1.")
        self._max_size = max_size
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_create(self, key: Hashable, create: Callable[[], V]) -> V:
        """Return the value of `key`, created if it is not there.

        The lock is not held while a value is created, so two threads may create the same one.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = create()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._max_size:
                self._values.popitem(last=False)
        return value

    def __reduce__(self) -> tuple[type[LRUCache[V]], tuple[int]]:
        return type(self), (self._max_size,)
