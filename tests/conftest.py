"""What every test needs, and nothing else: a Bento home of its own, and examples that no clock judges."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow at times, and that says nothing about Bento.
settings.register_profile("bento", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("check", settings.get_profile("bento"), max_examples=25)  # `make check`; `make test` has 100
settings.load_profile("bento")


@pytest.fixture(scope="session", autouse=True)
def _nobodys_home() -> Iterator[None]:
    """No test, and nothing that a test starts, finds the domains of the person who runs the tests."""
    home = tempfile.mkdtemp(prefix="bento-test-")  # short: socket names hold 107 bytes
    before = {name: os.environ.pop(name, None) for name in ("BENTO_HOME", "XDG_RUNTIME_DIR")}
    os.environ["BENTO_HOME"] = home
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    shutil.rmtree(home)


@pytest.fixture
def tree() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]
