"""Products as ggml computes them: in the reference both operands are rounded, and nothing else is."""

import functools

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")

import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from torch.nn import functional

from implementations.gguf.arithmetic import bf16, f16, of_blocks, of_file, of_superblocks, q4_0, q4_k_m, q8_0
from implementations.gguf.convert.quantise import quantised
from implementations.gguf.options import KINDS
from parity.arithmetic import available, find

X, WEIGHT = torch.rand(3, 64) + 1, torch.rand(5, 64) + 1
NAME = "model.language_model.layers.3.mlp.up_proj.weight"


def in_integers(rows, most):
    """Rows in blocks of 32, the largest number of a block `most` times its scale, which is rounded to float16."""
    blocks = rows.double().reshape(len(rows), -1, 32)
    scale = blocks.amax(-1, keepdim=True) / most
    return ((blocks / scale).round() * scale.half().double()).reshape(rows.shape)


def halves(dtype):
    return lambda rows: rows.to(dtype).double()


def of_8_bits(rows):
    return in_integers(rows, 127)


def of_4_bits(rows):
    """The largest number of a block is -8 times its scale, and integers go from -8 to 7."""
    blocks = rows.double().reshape(len(rows), -1, 32)
    scale = (blocks.amax(-1, keepdim=True) / -8).half().double()
    integers = ((blocks / (blocks.amax(-1, keepdim=True) / -8)) + 8.5).floor().clamp(max=15) - 8
    return (integers * scale).reshape(rows.shape)


DECLARATIONS = """
typedef struct {
    void (*from_float)(const float * row, void * target, int64_t count); void * product; int other; int64_t rows;
} processor_traits;
const processor_traits * ggml_get_type_traits_cpu(int type);
void ggml_cpu_init(void);
"""
SIZES = {GGMLQuantizationType.Q8_0: (32, 34, 2), GGMLQuantizationType.Q8_K: (256, 292, 4)}
"""Numbers of a block, its bytes, and those of its scale, before the integers."""


@functools.cache
def processor():
    """llama.cpp with its functions for processors."""
    from implementations.gguf.engine.library import library

    llama = library()
    llama.ffi.cdef(DECLARATIONS)
    llama.c.ggml_cpu_init()
    return llama


def multiplied_by(kind):
    """The type that what is multiplied by a matrix of a type has."""
    return processor().c.ggml_get_type_traits_cpu(kind).other


def traits_of(kind):
    """Rows rounded by the library to a type of 8 bits, and read again."""
    numbers, size, before = SIZES[kind]

    def rounded(rows):
        llama, values = processor(), rows.numpy()
        target = np.empty(values.size // numbers * size, np.uint8)
        function = llama.c.ggml_get_type_traits_cpu(kind).from_float
        function(llama.ffi.from_buffer("float[]", values), llama.ffi.from_buffer(target), values.size)
        blocks = target.reshape(-1, size)
        scale = blocks[:, :before].copy().view(np.float16 if before == 2 else np.float32).astype(np.float32)
        integers = blocks[:, before : before + numbers].copy().view(np.int8)
        return torch.from_numpy((scale * integers).reshape(values.shape))

    return rounded


CASES = [
    (bf16, halves(torch.bfloat16), halves(torch.bfloat16)),
    (f16, halves(torch.float16), halves(torch.float16)),
    (q8_0, of_8_bits, of_8_bits),
    (q4_0, of_4_bits, of_8_bits),
]


@pytest.mark.parametrize(("make", "weight", "operand"), CASES)
def test_operands_are_rounded(make, weight, operand):
    """By a hair of a boundary an integer may fall to the other side of it: one of 320, by a 127th of the largest."""
    made = make()
    made.meet([(NAME, WEIGHT)])
    with made.running():
        product, rows = functional.linear(X, WEIGHT), functional.embedding(torch.tensor([2]), WEIGHT)
        with made.suspended():
            assert torch.equal(functional.linear(X, WEIGHT), X @ WEIGHT.T)
        assert torch.equal(X * 3, X + X + X)
    assert torch.allclose(product.double(), operand(X) @ weight(WEIGHT).T, rtol=2e-4, atol=0)
    assert torch.allclose(rows.double(), weight(WEIGHT)[2:3], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(product, X @ WEIGHT.T, rtol=1e-6, atol=0)


def test_weights_that_were_read_of_a_file_stay_as_they_are():
    """Of a model of any names; what they are multiplied by is rounded, and rows that are looked up are not."""
    made, narrow = of_file(), WEIGHT[:, :48].contiguous()
    made.meet([("model.layers.0.self_attn.q_proj.weight", WEIGHT), ("narrow", narrow), ("norm", WEIGHT[0])])
    with made.running():
        product, rows = functional.linear(X, WEIGHT), functional.embedding(torch.tensor([2]), WEIGHT)
        assert torch.equal(functional.linear(X[:, :48], narrow), X[:, :48] @ narrow.T)
    assert torch.allclose(product.double(), of_8_bits(X) @ WEIGHT.double().T, rtol=2e-4, atol=0)
    assert not torch.allclose(product, X @ WEIGHT.T, rtol=1e-6, atol=0)
    assert torch.equal(rows, WEIGHT[2:3])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (bf16, "model.language_model.layers.3.altup.prediction_coefs.weight"),
        (bf16, "model.vision_tower.conv_stem.weight"),
        (q8_0, "model.language_model.layers.3.laurel.linear_left.weight"),
        (q4_0, "model.language_model.per_layer_model_projection.weight"),
    ],
)
def test_what_stays_in_float32_in_the_file_is_not_rounded(make, name):
    made = make()
    made.meet([(name, WEIGHT)])
    with made.running():
        assert torch.equal(functional.linear(X, WEIGHT), X @ WEIGHT.T)


def test_rows_that_fill_no_blocks_are_not_rounded():
    made, weight = q8_0(), WEIGHT[:, :48].contiguous()
    made.meet([(NAME, weight)])
    with made.running():
        assert torch.equal(functional.linear(X[:, :48], weight), functional.linear(X[:, :48], weight.clone()))


def test_nothing_but_zeros_is_nothing_but_zeros():
    assert torch.equal(of_blocks(torch.zeros(2, 64)), torch.zeros(2, 64))
    assert torch.equal(of_superblocks(torch.zeros(2, 256)), torch.zeros(2, 256))


@pytest.mark.parametrize(("rounded", "kind"), [(of_blocks, "Q8_0"), (of_superblocks, "Q8_K")])
def test_operands_are_those_of_the_library(rounded, kind):
    """Integers and scales of ggml's own function, which says too which matrices it is for."""
    pytest.importorskip("xllamacpp")
    traits, rows = traits_of(GGMLQuantizationType[kind]), torch.randn(4, 256)
    assert torch.allclose(rounded(rows), traits(rows), rtol=3e-7, atol=0)
    fewer = {"Q8_K": ("Q4_K", "Q6_K"), "Q8_0": ("Q8_0", "Q4_0", "Q5_0")}[kind]
    assert all(multiplied_by(GGMLQuantizationType[name]) == GGMLQuantizationType[kind] for name in fewer)


def test_each_matrix_of_a_mixture_has_its_type():
    """By its name in the file, the number of layers, and the length of its rows."""
    names = {
        "model.language_model.embed_tokens.weight": (256, "Q6_K"),
        "model.language_model.layers.0.mlp.down_proj.weight": (512, "Q6_K"),
        "model.language_model.layers.10.mlp.down_proj.weight": (512, "Q4_K"),
        "model.language_model.layers.10.self_attn.q_proj.weight": (128, "Q5_0"),
        "model.language_model.layers.24.self_attn.v_proj.weight": (128, "Q8_0"),
        "model.language_model.layers.10.per_layer_input_gate.weight": (48, "F32"),
    }
    made, weights = q4_k_m(), {name: torch.rand(2, columns) for name, (columns, _) in names.items()}
    made.meet(weights.items())
    with made.running():
        for name, (columns, kind) in names.items():
            x, weight = torch.rand(3, columns), weights[name]
            if kind == "F32":
                assert torch.equal(functional.linear(x, weight), x @ weight.T)
                continue
            true = torch.from_numpy(
                dequantize(quantised(weight.numpy(), GGMLQuantizationType[kind]), GGMLQuantizationType[kind])
            )
            operand = (of_superblocks if kind.endswith("K") else of_blocks)(x)
            assert torch.equal(functional.linear(x, weight), functional.linear(operand, true)), name


def test_they_are_found_by_name():
    names = [name for name in KINDS if name != "float32"]
    assert set(names) <= set(available())
    assert all(find(name).storage == "float32" for name in names)
