"""Clients and Ray leave sockets to the garbage collector: it is called where what it says of them is not listened to."""

import gc
import warnings

import pytest


def swept():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(autouse=True)
def _after_each():
    yield
    swept()


@pytest.fixture(autouse=True, scope="session")
def _in_the_end():
    yield
    swept()
