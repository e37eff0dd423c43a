"""The embedded checkpoint as one GGUF file, written once for all tests of this folder."""

import pytest


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    """All weights in float32."""
    pytest.importorskip("gguf")
    from implementations.gguf.convert import write_text
    from reference.tiny import path

    written = tmp_path_factory.mktemp("gguf") / "tiny-f32.gguf"
    write_text(path(), written, "f32")
    return written


@pytest.fixture(scope="session")
def load(file):
    """Loads the file, or another one, with options."""
    pytest.importorskip("xllamacpp")
    from implementations.gguf import Backend
    from reference.tiny import path

    return lambda **options: Backend.load(path(), "float32", **{"file": str(file), **options})


@pytest.fixture(scope="session")
def backend(load):
    """The file as it is."""
    return load()
