"""keras-hub's Qwen 3 on JAX, as a port to be judged: none of it is changed."""

from importlib.metadata import version

from parity.errors import UsageError
from parity.learning.port import Port


class Backend(Port):
    """What keras-hub loads of a checkpoint of transformers, with its own cache of keys and values."""

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
        """The package converts the checkpoint itself."""
        from keras_hub.models import Backbone, Qwen3CausalLM

        return Qwen3CausalLM(backbone=Backbone.from_preset(str(checkpoint), dtype=dtype), preprocessor=None)

    def start(self, *, padding, cache):
        """No token was read yet."""
        if any(padding):
            raise UsageError("keras-hub pads rows on the right: judge it in scenarios without padding")
        self.past, self.seen = None, 0

    def call(self, token_ids):
        """Run a chunk behind a cache with just room for it: row, layer, key or value, token, head, number."""
        from keras import ops

        of, (rows, tokens) = self.model.backbone, token_ids.shape
        room = ops.zeros((rows, of.num_layers, 2, tokens, of.num_key_value_heads, of.head_dim), of.compute_dtype)
        cache = room if self.past is None else ops.concatenate([self.past, room], axis=3)
        logits, _, self.past = self.model.call_with_cache(ops.array(token_ids, "int32"), cache, self.seen)
        self.seen += tokens
        return logits
