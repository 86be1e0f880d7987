"""Fixtures for tests of the Python module, which run in an environment with its wheel: tests/clients/run python."""

import pytest

import vatic


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of tables whose server stays for all tests."""
    folder = tmp_path_factory.mktemp("shared")
    with vatic.connect(folder):
        yield folder


@pytest.fixture
def con(folder):
    """A connection, a session of its own, to a server that all tests share."""
    with vatic.connect(folder) as connection:
        yield connection


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test has an empty working directory."""
    monkeypatch.chdir(tmp_path)
