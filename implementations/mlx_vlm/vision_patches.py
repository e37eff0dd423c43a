"""What is wrong in mlx-vlm 0.7.10's way from a picture to soft tokens."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm.media import PICTURE
from parity.fault import Inputs, Kind, Needed
from parity.site import Edit

VISION = "mlx_vlm.models.gemma3n.vision"
_TOWER = f"{VISION}:VisionTower"
_GEOMETRY = "__import__('implementations.mlx_vlm.geometry', fromlist=['scaled'])"

_DEPTHWISE = """# Depthwise convolution
        return {}(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding={},
            dilation={},
"""
_SYMMETRIC = ("nn.Conv2d", "(kernel_size - 1) // 2 * dilation", "dilation")
_SAME = ("Conv2dSame", "0", "(dilation, dilation)")

VISION_GEOMETRY = Patch(
    name="vision-geometry",
    wrong="The published vision tower is built, whatever `vision_config.model_args` says.",
    kind=Kind.UNREACHABLE,
    reached="Another `channel_multiplier` or `msfa_output_resolution`, as the embedded checkpoint has; no published "
    "one.",
    edits=(
        Edit(
            "mlx_vlm.utils:load_model",
            "model_config = apply_generation_config_defaults(model_config, config)",
            "model_config = apply_generation_config_defaults(model_config, config)\n"
            "    model_config.vision_config.model_args = config['vision_config'].get('model_args') or {}",
        ),
        Edit(
            f"{_TOWER}.__init__",
            "num_features, self.blocks = self.build()",
            "self._arguments = config.model_args\n    num_features, self.blocks = self.build()",
        ),
        Edit(f"{_TOWER}.__init__", "= (16, 16)", f"= {_GEOMETRY}.resolution(config.model_args)"),
        Edit(f"{_TOWER}.__init__", "[1920]", f"[{_GEOMETRY}.fused_inputs(config.model_args)]"),
        Edit(
            f"{_TOWER}.build",
            "gemma3n_mobilenet_def()",
            f"{_GEOMETRY}.scaled(gemma3n_mobilenet_def(), self._arguments)",
        ),
    ),
    inputs=Inputs("cached", refused="Expected shape"),
    needed=Needed.LOAD,
)

STRIDED_PADDING = Patch(
    name="strided-padding",
    wrong="Depthwise convolutions of stride 2 pad an even map by one row and column on every side; the reference's "
    "SAME padding has them below and to the right alone, so that keys and values are shifted by a pixel.",
    reached="Every picture.",
    edits=(Edit(f"{VISION}:create_conv2d", _DEPTHWISE.format(*_SYMMETRIC), _DEPTHWISE.format(*_SAME)),),
    steps=("vision.*.attn.key.norm.input", "vision.*.attn.value.norm.input"),
    inputs=PICTURE,
)

GELU_FORM = Patch(
    name="gelu-form",
    wrong="Activations are the exact GELU; the reference's are its tanh form.",
    reached="Every picture.",
    edits=(Edit(f"{VISION}:RMSNormAct2d.__init__", "nn.GELU()", 'nn.GELU("tanh")'),),
    steps=("vision.*.act",),
    inputs=PICTURE,
    dtypes=("float32",),
)

NORM_EPSILON = Patch(
    name="norm-epsilon",
    wrong="Most norms have an epsilon of 1e-5, which their calls in `vision.py` give; all of the reference's have "
    "1e-6.",
    reached="Every picture; how much depends on the weights.",
    edits=(Edit(f"{VISION}:RMSNormAct2d.__init__", "dims=num_channels, eps=eps", "dims=num_channels, eps=1e-6"),),
    steps=("vision.*.bn", "vision.*.bn1", "vision.*.bn2", "vision.*.norm"),
    inputs=PICTURE,
    dtypes=("float32",),
)

TOKEN_ORDER = Patch(
    name="token-order",
    wrong="Soft tokens are the fused map's pixels column by column; the reference's are row by row.",
    reached="Every picture.",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.gemma3n:Model.get_image_features",
            "vision_outputs.transpose(0, 3, 1, 2)",
            "vision_outputs.transpose(0, 3, 2, 1)",
        ),
    ),
    steps=("vision.soft_tokens",),
    inputs=PICTURE,
)

_SQUARES = "mx.mean(v, axis=1, keepdims=True)"

NORM_MEANS = Patch(
    name="norm-means",
    wrong="`mx.mean` adds the squares of up to 2,048 channels one after the other on the CPU.",
    kind=Kind.NUMERICS,
    reached="MLX's CPU device, with a picture.",
    edits=(
        Edit(f"{VISION}:rms_norm2d", _SQUARES, _SQUARES.replace("(v", "(mx.mean(mx.unflatten(v, 1, (-1, 8)), axis=2)")),
    ),
    steps=("vision.msfa.ffn.pw_proj.bn", "vision.msfa.norm"),
    inputs=PICTURE,
    dtypes=("float32",),
)

_PROJECTED = "self.embedding_projection(emb_norm)"
_BLOCKS = "mx.split({}, 16, axis=-1)"

PRODUCT_SUMS = Patch(
    name="product-sums",
    wrong="The BLAS of MLX's wheel adds 2,048 products one after the other: 4.7 floors at `embed_vision.soft`. With "
    "OpenBLAS preloaded, as the harness runs it where that is installed, it is within the floors.",
    kind=Kind.NUMERICS,
    reached="MLX's CPU device on Linux without another BLAS, with a picture.",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.gemma3n:Gemma3nMultimodalEmbedder.__call__",
            _PROJECTED,
            f"sum(part @ rows.T for part, rows in zip({_BLOCKS.format('emb_norm')}, "
            f"{_BLOCKS.format('self.embedding_projection.weight')}))",
        ),
    ),
    steps=("embed_vision.*", "embed_audio.*"),
    proof="test_products_of_soft_tokens_are_added_one_after_the_other",
)

VISION_PATCHES = (
    VISION_GEOMETRY,
    STRIDED_PADDING,
    GELU_FORM,
    NORM_EPSILON,
    TOKEN_ORDER,
    NORM_MEANS,
    PRODUCT_SUMS,
)
