"""The fuzzer's files are read where the table of bad inputs is: without a framework and without a worker."""

from tests.bad_input.conftest import refused

__all__ = ["refused"]
