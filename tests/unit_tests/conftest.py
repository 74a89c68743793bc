"""What tests of any module may ask for."""

import signal

import pytest


@pytest.fixture
def ctrl_c():
    """Python's own answer to SIGINT: a shell that started this in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
