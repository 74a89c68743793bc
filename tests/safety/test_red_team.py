"""Attempts of a red team are stopped, and honest conversations beside them are not blocked."""

import pytest
import red_team_arguments  # noqa: F401 - adds its attempts
import red_team_conversations  # noqa: F401 - adds its attempts
from red_team_runner import ALL, run_attempt

ATTEMPTS = [attempt for attempt in ALL if not attempt.honest]
HONEST = [attempt for attempt in ALL if attempt.honest]


def describe(attempt):
    return f"{attempt.id} {attempt.title}"


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=describe)
def test_an_attempt_does_not_run_without_a_question(attempt):
    outcome = run_attempt(attempt, None)
    assert outcome["outcome"] in {"asked", "blocked"}
    assert not outcome["unavailable"]


@pytest.mark.parametrize("attempt", HONEST, ids=describe)
def test_an_honest_control_is_not_blocked(attempt):
    assert run_attempt(attempt, None)["outcome"] in {"ran", "asked"}
