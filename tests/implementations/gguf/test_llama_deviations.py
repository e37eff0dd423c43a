"""What llama.cpp does otherwise: declared as the page has it, each copied by variants that the reference has."""

import pytest

pytest.importorskip("xllamacpp")

from implementations.gguf import Backend
from implementations.gguf.deviations import DEVIATIONS, PICTURE, subject
from parity.errors import BackendUnavailable
from parity.fault import Inputs
from reference.gemma3n.variants import catalogue
from tests.third_party_page import require_documented


def test_the_page_is_of_these_deviations():
    require_documented(Backend, "xllamacpp")


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_each_is_copied_or_proven_by_a_test(deviation):
    """Its variants begin where it is declared to be introduced."""
    assert deviation.copies or deviation.proof
    for inputs in (Inputs("one-shot"), PICTURE):
        for name in deviation.alike(inputs):
            variant = catalogue().get(name)
            assert deviation.explains(variant.at().first), name
            assert "llama.cpp" in variant.source or "ggml" in variant.source


def test_with_pictures_the_ids_that_end_them_have_zeros_alone():
    (deviation,) = (each for each in DEVIATIONS if each.name == "per-layer-zeros")
    assert (deviation.alike(Inputs("outside")), deviation.alike(PICTURE)) == (("ple-padding-zero",), ("ple-end-zero",))


def test_a_package_that_is_not_installed():
    with pytest.raises(BackendUnavailable, match="no-such is not installed: pip install"):
        subject("no-such")
