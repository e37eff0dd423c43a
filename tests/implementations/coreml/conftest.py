"""Core ML packages of a few operations, in the folder of a conversion."""

from __future__ import annotations

import pytest

pytest.importorskip("coremltools")

import numpy as np

from implementations.coreml.package.folder import HEAD, Package
from implementations.coreml.package.settings import Settings
from implementations.coreml.package.tools import Builder, coremltools

MATRIX = np.random.default_rng(0).normal(size=(32, 64, 1, 1)).astype(np.float32)


def converted(*, precision="FLOAT16", system="iOS18"):
    """A product with a matrix of its own, a convolution, and a rectifier behind it."""

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 64, 1, 4))], opset_version=coremltools.target[system])
    def program(states):
        product = Builder.conv(x=states, weight=MATRIX, name="product")
        return Builder.relu(x=product, name="logits")

    return coremltools.convert(
        program,
        minimum_deployment_target=coremltools.target[system],
        compute_precision=getattr(coremltools.precision, precision),
        skip_model_load=True,
    )


@pytest.fixture(scope="session")
def product(tmp_path_factory):
    """The file of that, in float32."""
    file = tmp_path_factory.mktemp("coreml") / "product.mlpackage"
    converted(precision="FLOAT32").save(str(file))
    return file


@pytest.fixture
def folder(tmp_path, product):
    """A conversion's folder, as far as it is of a head alone."""
    import shutil

    shutil.copytree(product, tmp_path / f"{HEAD}.mlpackage")
    package = Package(tmp_path, Settings(context=64), (), (HEAD,), {HEAD: {"main": [("text.lm_head", "product")]}})
    package.write()
    return tmp_path
