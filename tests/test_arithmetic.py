"""Arithmetics: their names, how they are found, the reference in them, and commands that packages add."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity import arithmetic
from parity.dtypes import number_format, unit_roundoff
from parity.errors import UsageError
from reference.common.arithmetics import arithmetic as chosen
from reference.common.arithmetics import running
from reference.gemma3n.huggingface import Reference

ANE = "float16-ane"


@pytest.mark.parametrize(("name", "form", "roundoff"), [(ANE, "float16", 2.0**-11), ("bfloat16", "bfloat16", 2.0**-8)])
def test_an_arithmetic_names_its_number_format(name, form, roundoff):
    assert number_format(name) == form
    assert unit_roundoff(name) == roundoff


@pytest.mark.parametrize("name", ["ane", "ane-float16", "-ane", "float23-ane"])
def test_names_without_a_number_format_are_refused(name):
    with pytest.raises(UsageError, match="unknown dtype"):
        number_format(name)


def test_arithmetics_are_found_by_name():
    assert ANE in arithmetic.available()
    found = arithmetic.find(ANE)
    assert (found.weights, found.storage) == ("float16", "float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float16-gpu", "unknown arithmetic 'float16-gpu'; installed: .*float16-ane"),
        ("nowhere:it", "cannot be imported"),
        ("builtins:list", "makes no parity Arithmetic"),
    ],
)
def test_what_is_no_arithmetic_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        arithmetic.find(name)


def test_the_references_dtypes():
    """Torch's, and what is installed besides."""
    assert {"float64", "float32", "bfloat16", "float16", ANE} <= set(Reference.dtypes)
    assert {name: chosen(name).storage for name in ("float64", "bfloat16", ANE)} == {
        "float64": "float64", "bfloat16": "bfloat16", ANE: "float32",
    }  # fmt: skip


def test_weights_are_rounded_when_loaded(harness):
    """All are fp16 numbers in float32; the angular frequencies are the host's, and stay."""
    model, rounded = harness.baseline(ANE)._model, harness.baseline(ANE)._arithmetic.rounded
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float32, name
            is_hosts = name.endswith(("inv_freq", "inv_timescales"))
            assert is_hosts or torch.equal(tensor, rounded(tensor)), name
    frequencies = model.model.language_model.rotary_emb.sliding_attention_inv_freq
    assert not torch.equal(frequencies, frequencies.half().float())


def test_rotary_tables_are_the_hosts(harness):
    """At position 3001, which fp16 does not have, cosine and sine are as exact as their own rounding."""
    backend = harness.baseline(ANE)
    rotary = backend._model.model.language_model.rotary_emb
    with torch.no_grad(), running(backend._arithmetic):
        cos, _ = rotary(torch.zeros(1), torch.tensor([[3001]]), "full_attention")
    frequencies = rotary.full_attention_inv_freq.double()
    exact = torch.cos(3001 * torch.cat([frequencies, frequencies]))
    assert (cos[0, 0] - exact).abs().max().item() < 2.0**-11
    assert torch.equal(cos, cos.half().float())


@pytest.mark.slow
def test_floors_are_those_of_float16_where_it_has_no_islands(harness):
    """Torch's own float16 errs as much at projections and sums; at norms, which it computes in float32, less.

    At `cutoff` the two would differ by a factor of three if the quantile were not the host's.
    """
    oracle = harness.oracle_trace("one-shot")
    native, ane = (harness.baseline_runs(name, "one-shot").lockstep for name in ("float16", ANE))
    for step, most in (("attn.q_proj", 1.01), ("mlp.cutoff", 1.2), ("laurel.out", 1.01), ("input_layernorm", 2.5)):
        for layer in (0, 5, 9):
            key = next(each for each in oracle.records if each.step == f"text.layers.{layer}.{step}")
            true = oracle.tensor(key)
            first, second = (np.linalg.norm(trace.tensor(key).astype(float) - true) for trace in (native, ane))
            assert first / most <= second <= most * first or (step == "input_layernorm" and second <= most * first)


@pytest.mark.slow
def test_torchs_float16_is_at_parity_with_the_baseline_of_the_engine(harness):
    """Fewer roundings than the floor's are no fault."""
    judgement = harness.judge(harness.baseline("float16"), ANE, "one-shot")
    assert (judgement.dtype, judgement.first_divergence) == (ANE, None)


@pytest.fixture
def plugins(monkeypatch):
    """What is installed as commands."""
    found = {"hello": f"{__name__}:hello", "lost": "nowhere:it", "compare": "nowhere:it"}
    for module in ("parity.entries", "parity.cli.plugins"):
        monkeypatch.setattr(f"{module}.targets", lambda group: found if group == "parity.commands" else {})


def hello(name: str = "you") -> int:
    """Say hello."""
    print(f"hello {name}")
    return 5


def test_a_command_of_another_package(parity, plugins):
    """It is listed, takes its options and gives the exit code."""
    assert "Say hello." in parity("--help")[1]
    assert parity("hello", "--name", "me") == (5, "hello me\n", "")


def test_a_broken_command_breaks_no_other(parity, plugins):
    """It is listed as broken, and says why; a built-in command is not displaced."""
    code, out, _ = parity("--help")
    assert code == 0
    assert "Broken: " in out
    code, out, err = parity("lost", "--option", "value")
    assert (code, out) == (3, "")
    assert err.startswith("parity: command lost is broken: ")
    assert len(err.splitlines()) == 1
    assert parity("compare", "--help")[0] == 0


def test_an_unknown_command(parity, plugins):
    assert parity("nothing")[0] == 2
