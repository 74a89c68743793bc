"""What all tests share: hypothesis measures no time, and only unit tests may be fast."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine fails no test
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")
UNIT_TESTS = Path(__file__).parent / "unit_tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long as a whole, so that one run of pytest has all slow tests and no core waits for another."""
    for item in items:
        if not item.path.is_relative_to(UNIT_TESTS):
            item.add_marker("slow")
