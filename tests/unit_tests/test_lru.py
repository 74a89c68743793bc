"""The cache of recent values."""

from __future__ import annotations

import pickle
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_sea.core.lru import LRUCache


def test_recent_values_do_not_travel() -> None:
    """A pickled one is empty, and as large."""
    recent: LRUCache[int] = LRUCache(3)
    recent.get_or_create("key", lambda: 1)
    again = pickle.loads(pickle.dumps(recent))  # noqa: S301 - made one line above
    assert again.get_or_create("key", lambda: 2) == 2
    assert again._max_size == 3


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 4))
@settings(max_examples=50)
def test_recent_values_are_kept(keys: list[int], size: int) -> None:
    """A key among the last `size` different ones is not made again; no more are kept."""
    recent: LRUCache[int] = LRUCache(size)
    for place, key in enumerate(keys):
        made: list[int] = []
        assert recent.get_or_create(key, lambda key=key, made=made: made.append(key) or key) == key  # type: ignore[misc]
        last = list(dict.fromkeys(reversed(keys[:place])))[:size]
        assert bool(made) == (key not in last)
        assert len(recent._values) <= size


def test_recent_values_are_shared_by_threads() -> None:
    """Many threads at once get the right values, and the bound holds."""
    recent: LRUCache[int] = LRUCache(3)
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - not for secrets
        for _ in range(500):
            key = rng.randrange(8)
            if recent.get_or_create(key, lambda key=key: key) != key:  # type: ignore[misc]
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(recent._values) == 3
    with pytest.raises(ValueError, match="at least 1"):
        LRUCache(0)
