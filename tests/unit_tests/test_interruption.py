"""A long measurement that is interrupted goes on to its figures."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_the_block_alone(number: signal.Signals, capsys: Any) -> None:
    before, answered = signal.getsignal(number), []
    with interruption.go_on_when_interrupted():
        answered.append("first")
        signal.raise_signal(number)
        answered.append("second")
    assert answered == ["first"]
    assert "answers so far" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_an_error_in_a_measurement_is_no_interruption() -> None:
    with pytest.raises(ZeroDivisionError), interruption.go_on_when_interrupted():
        _ = 1 / 0
