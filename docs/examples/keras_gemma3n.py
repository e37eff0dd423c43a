"""keras-hub's Gemma 3n on JAX, as a port to be judged: its language model, of which nothing is changed."""

import json
from collections import defaultdict
from importlib.metadata import version

from parity.errors import UsageError
from parity.learning.port import Port


class Backend(Port):
    """What keras-hub converts of a checkpoint of transformers, with its own cache of keys and values."""

    name = "keras-hub"
    dtypes = ("float32", "bfloat16", "float16")
    packages = ("keras_hub.src.models.", "keras_hub.src.layers.")

    @classmethod
    def environment(cls):
        """Keras chooses its framework when it is imported."""
        return {"KERAS_BACKEND": "jax"}

    @classmethod
    def versions(cls):
        """What is installed."""
        return {name: version(name) for name in ("keras-hub", "keras", "jax")}

    @classmethod
    def read(cls, checkpoint, dtype):
        """Text alone: without the towers, which the package builds at their published sizes whatever they are."""
        from keras_hub.models import Gemma3nBackbone, Gemma3nCausalLM
        from keras_hub.src.utils.transformers import convert_gemma3n
        from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

        towers = {"vision_config": defaultdict(int), "audio_config": defaultdict(int)}
        said = defaultdict(int, json.loads((checkpoint / "config.json").read_text()) | towers)
        alone = {"vision_encoder_config": None, "audio_encoder_config": None, "dtype": dtype}
        backbone = Gemma3nBackbone(**convert_gemma3n.convert_backbone_config(said) | alone)
        with SafetensorLoader(str(checkpoint)) as loader:
            convert_gemma3n._port_language_model(loader, backbone)
        return Gemma3nCausalLM(preprocessor=None, backbone=backbone)

    def start(self, *, padding, cache):
        """No token was read yet."""
        if any(padding):
            raise UsageError("keras-hub pads rows on the right: judge it in scenarios without padding")
        self.past, self.seen = None, 0

    def call(self, token_ids):
        """Run a chunk behind a cache with just room for it: row, layer, key or value, head, token, number."""
        from keras import ops

        of, (rows, tokens) = self.model.backbone, token_ids.shape
        shape = rows, of.num_hidden_layers, 2, of.num_key_value_heads, tokens, of.head_dim
        room, ids = ops.zeros(shape, of.compute_dtype), ops.array(token_ids, "int32")
        cache = room if self.past is None else ops.concatenate([self.past, room], axis=4)
        real = ops.ones((rows, self.seen + tokens), "bool")
        logits, _, self.past = self.model.call_with_cache(ids, cache, self.seen, padding_mask=real)
        self.seen += tokens
        return logits
