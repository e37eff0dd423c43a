"""What the tests of preprocessing stand on."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def eight_bits():
    """Torchvision resamples in 8 bits where it finds AVX2, which every processor can: the results are the same.

    Without, it rounds once instead of twice, and a pixel may be one level off.
    """
    geometry = pytest.importorskip("torchvision.transforms.v2.functional._geometry", reason="needs the [hf] extra")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "_do_native_uint8_resize_on_cpu", lambda interpolation: True)
        yield
