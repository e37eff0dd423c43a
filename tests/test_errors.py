"""What is missing is told with how to install it."""

from __future__ import annotations

import pytest

from parity.errors import BackendUnavailable, ExitCode, installed

HOW = "install the extra [x]"


def test_a_missing_package_makes_a_backend_unavailable():
    """Other errors stay what they are."""
    with pytest.raises(BackendUnavailable) as error, installed(HOW):
        import nowhere  # noqa: F401
    assert str(error.value) == f"{HOW} (No module named 'nowhere')"
    assert error.value.exit_code is ExitCode.UNAVAILABLE
    with pytest.raises(KeyError), installed(HOW):
        raise KeyError
