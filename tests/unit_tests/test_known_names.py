"""Misspelt names are refused where the chain is built, and a hub that does not answer is not waited for."""

from __future__ import annotations

import pytest

from langchain_sea import SEAChatModel
from langchain_sea.core.known_names import GATE_NAMES, MODEL_NAMES, REWARD_NAMES
from langchain_sea.core.timeouts import LateError
from langchain_sea.errors import WeightsNotFoundError
from langchain_sea.models import loading
from langchain_sea.models.loading import formats, hub
from langchain_sea.models.loading.locations import TINY_TIERS
from langchain_sea.models.loading.weight_packages import WEIGHT_PACKAGES


def test_the_names_are_those_that_can_be_loaded():
    """The list is written down apart, since the modules that load import torch."""
    assert {*MODEL_NAMES} == {*WEIGHT_PACKAGES, *TINY_TIERS}


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"model": "smolm2-135m"}, "did you mean 'smollm2-135m'"),
        ({"model": "tiny/exprt"}, "did you mean 'tiny/expert'"),
        ({"model": "tiny", "rewards": "safty"}, "did you mean 'safety'"),
        ({"model": "tiny", "rewards": ["tiny", "saftey"]}, "did you mean 'safety'"),
        ({"model": "tiny", "gate": "safty"}, "did you mean 'safety'"),
    ],
)
def test_a_misspelt_name_is_refused_by_the_constructor(settings, hint):
    """With the nearest name that there is, before anything is loaded."""
    with pytest.raises(ValueError, match=hint):
        SEAChatModel(**settings)


@pytest.mark.parametrize("name", [*MODEL_NAMES, "gpt2", "tiny-gpt2", "owner/smolm2-135m", "./smolm2-135m"])
def test_other_names_may_be_found_later(name):
    """On a hub, or as a folder."""
    assert SEAChatModel(model=name, rewards=REWARD_NAMES[0], gate=GATE_NAMES[0]).model == name


def test_a_folder_may_have_any_name(tmp_path, monkeypatch):
    """Also one that is nearly a known name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smolm2-135m").mkdir()
    assert SEAChatModel(model="smolm2-135m", rewards="safety").model == "smolm2-135m"


def fail(error):
    def raise_it(*_args, **_kwargs):
        raise error

    return raise_it


class Silent:
    """A session of a hub that cannot be reached."""

    def __init__(self, error):
        self.head = fail(error)


class ReadTimeoutError(Exception):
    """As the client's library names it."""


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("anything"), ReadTimeoutError()])
def test_an_id_of_an_unreachable_hub_is_answered_at_once(monkeypatch, error):
    """Transformers, which would try again for half a minute, is not asked."""
    monkeypatch.setattr(hub, "get_session", lambda: Silent(error))
    monkeypatch.setattr(formats, "_from_pretrained", fail(AssertionError("it was asked")))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(WeightsNotFoundError, match="does not answer"):
        loading.load("unknown-model")


@pytest.mark.parametrize("if_late", [True, False])
def test_a_slow_hub_is_another_matter(monkeypatch, if_late):
    """What then happens is the caller's choice; a hub that is switched off is never asked."""
    monkeypatch.setattr(hub, "run_with_timeout", fail(LateError()))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.can_reach_hub(if_late=if_late) is if_late
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not hub.can_reach_hub(if_late=True)
