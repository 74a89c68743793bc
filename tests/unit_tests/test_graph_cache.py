"""Which functions are captured, and what happens where a capture fails. The capture itself is replaced."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import torch

from langchain_sea.models import cuda_graphs, graph_cache
from langchain_sea.models.cuda_graphs import GraphedFunction
from langchain_sea.models.graph_cache import GraphCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.models.graph_cache import Recorder


class Graphs:
    """A cache whose functions are captured without a GPU.

    Attributes:
        cache: the cache.
        tried: the names of functions for which a capture began.
        errors: what the capture of each name raises.
    """

    def __init__(self, max_graphs: int = 48) -> None:
        self.cache = GraphCache(torch.device("cpu"), max_graphs)
        self.cache.is_enabled = True
        self.tried: list[str] = []
        self.errors: dict[str, Exception] = {}

    def capture(self, function: Callable[..., Any], cache: GraphCache, name: str, _inputs: object) -> object:
        def record(_record: Recorder) -> None:
            self.tried.append(name)
            if name in self.errors:
                raise self.errors[name]

        return function if cache.capture(name, record) else None

    def call(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            function = self.cache.get_or_create(name, lambda: GraphedFunction(lambda x: (2 * x,), self.cache, name))
            assert function(torch.ones(1))[0].item() == 2

    def call_each(self, *names: str) -> None:
        for name in names:
            self.call(name, times=2)

    @property
    def captured(self) -> list[str]:
        """The names of the functions that are replayed."""
        functions = [each for each in self.cache._functions.values() if isinstance(each, GraphedFunction)]
        return [each.name for each in functions if each._captured]


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("memory_reserved", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda _device: 0)
    for name in ("graph_pool_handle", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(graph_cache, "_on_stream", lambda _stream: nullcontext())


@pytest.fixture
def make_graphs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Graphs]:
    def make(max_graphs: int = 48) -> Graphs:
        graphs = Graphs(max_graphs)
        monkeypatch.setattr(cuda_graphs._Captured, "make", graphs.capture)
        return graphs

    return make


def test_a_function_is_captured_at_its_second_call(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs()
    graphs.call("a")
    assert graphs.tried == []
    graphs.call("a", times=3)
    assert graphs.tried == [capture.name for capture in graphs.cache.captures] == ["a"]


def test_the_function_that_was_not_used_for_longest_is_dropped(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs(max_graphs=2)
    graphs.call_each("a", "b", "a", "c")
    assert graphs.captured == ["a", "c"]
    graphs.call("b", times=2)
    assert graphs.tried == ["a", "b", "c", "b"]
    assert graphs.captured == ["c", "b"]


def test_a_capture_without_memory_is_not_tried_again_and_the_others_stay(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs(max_graphs=3)
    graphs.errors["large"] = torch.OutOfMemoryError("CUDA out of memory")
    graphs.call("small", times=2)
    with pytest.warns(RuntimeWarning, match="large runs without a CUDA graph.*memory does not suffice"):
        graphs.call("large", times=2)
    for _ in range(4):  # the large one is dropped and made again
        graphs.call_each("small", "other", "large", "third")
    assert graphs.tried.count("large") == 1
    assert "large" not in graphs.captured
    assert graphs.cache.is_enabled
    graphs.call("small", times=2)
    assert "small" in graphs.captured


def test_memory_is_warned_of_once(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs()
    for name in ("large", "larger"):
        graphs.errors[name] = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.warns(RuntimeWarning, match="large") as warned:
        graphs.call_each("large", "larger")
    assert len(warned) == 1
    assert graphs.tried == ["large", "larger"]


def test_dropping_all_graphs_makes_room_for_one_that_was_too_large(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs()
    graphs.errors["large"] = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.warns(RuntimeWarning, match="large"):
        graphs.call("large", times=2)
    graphs.errors.clear()
    graphs.cache.clear()
    graphs.call("large", times=2)
    assert graphs.captured == ["large"]


def test_the_first_failure_and_the_end_of_all_captures_are_said(make_graphs: Callable[..., Graphs]) -> None:
    graphs = make_graphs()
    graphs.errors = {name: RuntimeError(f"{name} waits") for name in "abcd"}
    with pytest.warns(RuntimeWarning, match=r"a runs without a CUDA graph.*\(a waits\)\.$"):
        graphs.call("a", times=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs.call("b", times=3)
    assert graphs.cache.is_enabled
    with pytest.warns(RuntimeWarning, match=r"c runs without.*\(c waits\)\. .*nothing more is captured"):
        graphs.call("c", times=3)
    assert not graphs.cache.is_enabled
    graphs.call("d", times=3)
    graphs.call("e", times=3)
    assert graphs.tried == ["a", "b", "c"]


def test_what_cannot_be_captured_is_not_tried_after_it_was_dropped(make_graphs: Callable[..., Graphs]) -> None:
    """It would count as one more failure each time."""
    graphs = make_graphs()
    graphs.errors["waits"] = RuntimeError("waits for the device")
    with pytest.warns(RuntimeWarning, match="waits for the device"):
        graphs.call("waits", times=2)
    for _ in range(5):
        graphs.cache.clear()
        graphs.call("waits", times=2)
    assert graphs.tried == ["waits"]
    assert graphs.cache.is_enabled


class Pools:
    """Torch's pools: one whose graphs are all gone takes no other graph as long as blocks of it are cached."""

    def __init__(self) -> None:
        self.num_graphs: Counter[int] = Counter()

    def make_handle(self) -> int:
        return max(self.num_graphs, default=0) + 1

    def make_graph(self) -> FakeGraph:
        return FakeGraph(self)


class FakeGraph:
    """Uses a pool as a graph of CUDA does, from the beginning of its capture until it is gone."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools

    def capture_begin(self, pool: int, **_options: object) -> None:
        assert self.pools.num_graphs.get(pool, 1) > 0, "a pool without graphs"
        self.pools.num_graphs[pool] += 1
        weakref.finalize(self, self.pools.num_graphs.subtract, {pool: 1})

    def capture_end(self) -> None:
        pass


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Pools:
    pools = Pools()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", pools.make_graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", pools.make_handle)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return pools


def capture_call(cache: GraphCache, name: str, call: Callable[[], object] = list) -> list[object]:
    """The graph that is captured of a call, and what the call returned."""
    kept: list[object] = []
    cache.capture(name, lambda record: kept.extend(record(call)))
    return kept


def run_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.filterwarnings("ignore:.*runs without a CUDA graph:RuntimeWarning")
def test_graphs_share_a_pool_that_is_in_use(pools: Pools) -> None:
    """Where the first capture failed, and where all graphs are gone, the next one gets a new pool."""
    cache = GraphCache(torch.device("cpu"))
    assert capture_call(cache, "too large", run_out_of_memory) == []
    kept = [capture_call(cache, name) for name in "ab"]
    assert [count for count in pools.num_graphs.values() if count] == [2]
    assert capture_call(cache, "too large, too", run_out_of_memory) == []
    kept.append(capture_call(cache, "c"))
    assert [count for count in pools.num_graphs.values() if count] == [3]
    cache.clear()
    kept.append(capture_call(cache, "d"))  # the memory of others is free as soon as they are gone
    assert [count for count in pools.num_graphs.values() if count] == [3, 1]
    kept.clear()
    assert capture_call(cache, "e")
    assert [capture.name for capture in cache.captures] == list("abcde")


def test_memory_of_an_attempt_is_given_back_when_the_attempt_is_gone(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds what was allocated until then."""
    num_graphs: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: num_graphs.append(pools.num_graphs.total()))
    with pytest.warns(RuntimeWarning, match="memory does not suffice"):
        capture_call(GraphCache(torch.device("cpu")), "large", run_out_of_memory)
    assert num_graphs[-1] == 0
