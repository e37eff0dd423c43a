"""The probe: what a reference has at a step is what its recorded run has."""

from __future__ import annotations

import dataclasses

import numpy as np

from parity.running.probe import probe
from parity.traces.trace import Key
from tests.toy import SCENARIO, Toy, write


def test_what_a_scenario_scales_is_scaled(tmp_path):
    """The step itself, and what a known bug there would show."""
    scaled = dataclasses.replace(SCENARIO, scaled=(("embed", 2.0**-10),))
    oracle, plain = (write(tmp_path, name, Toy(), scenario=each) for name, each in (("s", scaled), ("p", SCENARIO)))
    key = Key("prefill", "embed")
    assert np.array_equal(oracle.tensor(key), plain.tensor(key) * 2.0**-10)
    assert np.array_equal(probe(Toy(), oracle, [key])[key], oracle.tensor(key))
    wrong = probe(Toy(wrong={"embed": lambda x: x * 3}), oracle, [key])[key]
    np.testing.assert_allclose(wrong, 3 * oracle.tensor(key), rtol=1e-15)
