"""What is wrong in mlx-vlm 0.7.10's way from a picture to soft tokens."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from parity.weave import Edit

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
    wrong="the vision tower is the published one, whatever vision_config.model_args says",
    kind="bug",
    needs="a checkpoint of another channel_multiplier or msfa_output_resolution; no published one",
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
    steps=(),
)

STRIDED_PADDING = Patch(
    name="strided-padding",
    wrong="depthwise convolutions of stride 2 pad an even map by one row and column on every side; the reference's "
    "SAME padding has them below and to the right alone, so that keys and values are shifted by a pixel",
    kind="bug",
    needs="a picture",
    edits=(Edit(f"{VISION}:create_conv2d", _DEPTHWISE.format(*_SYMMETRIC), _DEPTHWISE.format(*_SAME)),),
    steps=("vision.*.attn.key.norm.input", "vision.*.attn.value.norm.input"),
)

GELU_FORM = Patch(
    name="gelu-form",
    wrong="activations are the exact GELU; the reference's are its tanh form",
    kind="bug",
    needs="a picture",
    edits=(Edit(f"{VISION}:RMSNormAct2d.__init__", "nn.GELU()", 'nn.GELU("tanh")'),),
    steps=("vision.*.act",),
)

NORM_EPSILON = Patch(
    name="norm-epsilon",
    wrong="most norms have an epsilon of 1e-5; all of the reference's have 1e-6",
    kind="bug",
    needs="a picture",
    edits=(Edit(f"{VISION}:RMSNormAct2d.__init__", "dims=num_channels, eps=eps", "dims=num_channels, eps=1e-6"),),
    steps=("vision.*.bn", "vision.*.bn1", "vision.*.bn2", "vision.*.norm"),
)

TOKEN_ORDER = Patch(
    name="token-order",
    wrong="soft tokens are the fused map's pixels column by column; the reference's are row by row",
    kind="bug",
    needs="a picture",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.gemma3n:Model.get_image_features",
            "vision_outputs.transpose(0, 3, 1, 2)",
            "vision_outputs.transpose(0, 3, 2, 1)",
        ),
    ),
    steps=("vision.soft_tokens",),
)

_SQUARES = "mx.mean(v, axis=1, keepdims=True)"

NORM_MEANS = Patch(
    name="norm-means",
    wrong="norms add the squares of all channels one after the other on the CPU",
    kind="numerics",
    needs="MLX's CPU device, a picture",
    edits=(
        Edit(f"{VISION}:rms_norm2d", _SQUARES, _SQUARES.replace("(v", "(mx.mean(mx.unflatten(v, 1, (-1, 8)), axis=2)")),
    ),
    steps=("vision.msfa.ffn.pw_proj.bn", "vision.msfa.norm"),
)

_PROJECTED = "self.embedding_projection(emb_norm)"
_BLOCKS = "mx.split({}, 16, axis=-1)"

PRODUCT_SUMS = Patch(
    name="product-sums",
    wrong="the projection of soft tokens adds 2,048 products one after the other in the BLAS of MLX's wheel",
    kind="numerics",
    needs="MLX's CPU device without another BLAS, a picture",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.gemma3n:Gemma3nMultimodalEmbedder.__call__",
            _PROJECTED,
            f"sum(part @ rows.T for part, rows in zip({_BLOCKS.format('emb_norm')}, "
            f"{_BLOCKS.format('self.embedding_projection.weight')}))",
        ),
    ),
    steps=("embed_vision.*", "embed_audio.*"),
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
