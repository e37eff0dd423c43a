"""What holds for every test: the caller's own settings do not steer it, and a slow machine does not fail it."""

import os

import pytest
from hypothesis import settings

# Runners share their cores, so an example's time says nothing about the code.
settings.register_profile("parity", deadline=None)
settings.load_profile("parity")


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("PARITY_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def harness(tmp_path_factory):
    """Oracle and baselines of the embedded checkpoint."""
    from tests.harness import Harness  # imports torch, which most tests do without

    return Harness(tmp_path_factory.mktemp("traces"))


@pytest.fixture
def deviant(harness):
    """Makes a deviant of a name around the baseline's model, and unmarks the model afterwards."""
    from tests import deviations

    marked = []

    def make(name):
        kind = getattr(deviations, name)
        model = harness.baseline("float32")._model
        if getattr(kind, "marked", ""):
            marked.append(model.model.language_model.get_submodule(kind.marked))
            marked[-1].deviant = True
        return kind(model, harness.checkpoint, "float32")

    yield make
    for module in marked:
        del module.deviant
