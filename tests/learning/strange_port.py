"""The strange framework's model as candidates: as it is, and with a line wrong."""

from __future__ import annotations

import json
from importlib.metadata import version

from safetensors.numpy import load_file

from parity.errors import UsageError
from parity.learning.port import Port
from parity.site import Edit


class Backend(Port):
    """All that somebody must write who has a port."""

    name = "strange"
    dtypes = ("float32",)
    packages = ("tests.learning.strange_model",)

    @classmethod
    def versions(cls):
        """It has none."""
        return {}

    @classmethod
    def read(cls, checkpoint, dtype):
        """Matrices are transposed, but for the table of embeddings."""
        from tests.learning.strange import asarray
        from tests.learning.strange_model import Net

        weights = load_file(checkpoint / "model.safetensors")
        names = {name: name.removeprefix("model.").removesuffix(".weight") for name in weights}
        turned = {names[name]: value if "embed" in name else value.T for name, value in weights.items()}
        config = json.loads((checkpoint / "config.json").read_text())
        return Net({name: asarray(value, dtype) for name, value in turned.items()}, config)

    def start(self, *, padding, cache):
        """Forget the past."""
        if any(padding):
            raise UsageError("rows of unequal length are not for it")
        for block in self.model.blocks:
            block.past = None

    def call(self, token_ids):
        """Ids may be NumPy's."""
        return self.model(token_ids)


class Faulty(Backend):
    """Its gate is a sigmoid of the wrong sign."""

    edits = (Edit("tests.learning.strange_model:Block.__call__", "applied(np.exp, -gate)", "applied(np.exp, gate)"),)


class Careless(Backend):
    """Every norm is made with another epsilon than the configuration's."""

    edits = (Edit("tests.learning.strange_model:Norm.__init__", "np.float32(epsilon)", "np.float32(1e-3)"),)


class Compiled(Backend):
    """Its values are seen by nobody."""

    def is_array(self, value):
        """As where all are traced."""
        return False


class Elsewhere(Backend):
    """Its package is installed on another machine."""

    @classmethod
    def versions(cls):
        """As a port asks for them."""
        return {"no-such-package": version("no-such-package")}
