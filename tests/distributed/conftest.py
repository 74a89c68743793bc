"""Clients and Ray leave sockets to the garbage collector: it is called where what it says of them is not listened to."""

import gc
import warnings

import pytest


def swept():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(autouse=True, scope="module")
def _after_a_module():
    """Also what its servers and clients leave, before the tests of another folder begin."""
    gc.collect()
    gc.freeze()  # modules and weights are not looked through after each test
    yield
    swept()
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _after_each(_after_a_module):
    yield
    swept()
