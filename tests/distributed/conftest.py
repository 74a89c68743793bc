"""Clients and Ray leave sockets to the garbage collector; what it says of them at the end of a run is not ours."""


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")
