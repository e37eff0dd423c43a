"""What the tensors of a drawn Gemma 3n are drawn from, in any width, so that every one of them matters."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from parity.checkpoint import is_text_only
from reference.common.drawing import Bell, Rule, Shape, Uniform

TEXT: Final = r"model\.language_model\."
LAYER: Final = TEXT + r"layers\.\d+\."
VISION: Final = r"model\.vision_tower\.timm_model\."
BLOCK: Final = VISION + r"(blocks\.\d+\.\d+|msfa\.ffn)\."
AUDIO: Final = r"model\.audio_tower\."
CONFORMER: Final = AUDIO + r"conformer\.\d+\."


def rules(*, hidden: int, head_dim: int) -> tuple[Rule, ...]:
    """Return the rules of a model of that width whose heads have so many channels.

    They were found at a width of 128 with heads of 32, and what depends on these is scaled.
    """
    wider, longer = (hidden / 128) ** 0.5, (32 / head_dim) ** 0.25
    return (
        # Text. The reference multiplies embeddings by sqrt(width): the residual stream starts at rms 1.
        Rule(TEXT + r"embed_tokens\.weight", Bell(hidden**-0.5)),
        Rule(TEXT + r"embed_tokens_per_layer\.weight", Bell(256**-0.5)),
        Rule(TEXT + r"per_layer_model_projection\.weight", Bell(1.0)),  # the reference multiplies by 1 / sqrt(width)
        Rule(TEXT + r"per_layer_projection_norm\.weight", Uniform(0.6, 1.4)),
        Rule(TEXT + r"altup_(unembed_)?projections\.\d+\.weight", Bell(1.0, fan_in=True)),
        Rule(TEXT + r"norm\.weight", Uniform(2.0, 4.0)),  # the spread of the logits: about 3, a tenth of the soft-cap
        Rule(LAYER + r"(input|pre_feedforward)_layernorm\.weight", Uniform(0.6, 1.4)),
        # Branches join at a third of the stream: with gains of 1, 25 layers are chaotic (float32 floor 1e-4, not 1e-6).
        Rule(LAYER + r"post_(attention|feedforward)_layernorm\.weight", Uniform(0.2, 0.6)),
        Rule(LAYER + r"post_per_layer_input_norm\.weight", Uniform(0.4, 0.8)),
        # Attention has no 1 / sqrt(head_dim): gains of 0.6 keep the scores' spread near 2 where heads have 32
        # channels, so that softmax is not one-hot; it grows with the root of their number.
        Rule(LAYER + r"self_attn\.[qk]_norm\.weight", Uniform(0.4 * longer, 0.8 * longer)),
        Rule(LAYER + r"self_attn\.[qkvo]_proj\.weight", Bell(1.0, fan_in=True)),
        Rule(LAYER + r"laurel\.linear_(left|right)\.weight", Bell(1.0, fan_in=True)),
        Rule(LAYER + r"laurel\.post_laurel_norm\.weight", Uniform(0.2, 0.6)),
        Rule(LAYER + r"mlp\.(gate|up|down)_proj\.weight", Bell(1.0, fan_in=True)),
        Rule(LAYER + r"per_layer_(input_gate|projection)\.weight", Bell(1.0, fan_in=True)),
        # The router sees norm(x) / width: only weights of this size bring tanh's argument near 1.
        Rule(LAYER + r"altup\.modality_router\.weight", Bell(9.0 * wider)),
        Rule(LAYER + r"altup\.router_norm\.weight", Uniform(0.6, 1.4)),
        Rule(LAYER + r"altup\.prediction_coefs\.weight", Bell(0.06)),
        Rule(LAYER + r"altup\.correction_coefs\.weight", Bell(0.4)),
        Rule(LAYER + r"altup\.correct_output_scale", Uniform(0.6, 1.4)),
        # Both towers into the text's width.
        Rule(r"model\.embed_(vision|audio)\.embedding\.weight", Bell(1.0)),
        Rule(r"model\.embed_(vision|audio)\.(hard|soft)_embedding_norm\.weight", Uniform(0.6, 1.4)),
        Rule(r"model\.embed_(vision|audio)\.embedding_projection\.weight", Bell(1.0, fan_in=True)),
        # Vision. Every branch ends in a norm and a layer scale, so the residual stream grows as gamma * sqrt(blocks).
        Rule(VISION + r"conv_stem\.conv\.weight", Bell(1.5, fan_in=True)),
        Rule(VISION + r"conv_stem\.conv\.bias", Bell(0.3)),
        Rule(VISION + r"(conv_stem\.bn|msfa\.norm)\.weight", Uniform(0.6, 1.4)),
        Rule(BLOCK + r"(conv_exp|conv_pwl|(dw_start|dw_mid|pw_exp|pw_proj)\.conv)\.weight", Bell(1.0, fan_in=True)),
        Rule(BLOCK + r"(bn[12]|norm|(dw_start|dw_mid|pw_exp|pw_proj)\.bn)\.weight", Uniform(0.6, 1.4)),
        Rule(BLOCK + r"attn\.(key|value)\.norm\.weight", Uniform(0.6, 1.4)),
        # Scores' spread near 3: attention that is almost uniform would hide its queries and keys.
        Rule(BLOCK + r"attn\.(query|key)\.proj\.weight", Bell(1.4, fan_in=True)),
        Rule(BLOCK + r"attn\.((key|value)\.down_conv|(value|output)\.proj)\.weight", Bell(1.0, fan_in=True)),
        Rule(VISION + r"blocks\.\d\.0\.layer_scale\.gamma", Uniform(0.6, 1.4)),
        Rule(VISION + r"blocks\.\d\.(?!0\.)\d+\.layer_scale\.gamma", Uniform(0.04, 0.1)),
        # Audio.
        Rule(AUDIO + r"subsample_conv_projection\.conv_[01]\.conv\.weight", Bell(1.0, fan_in=True)),
        Rule(AUDIO + r"subsample_conv_projection\.conv_[01]\.norm\.weight", Uniform(0.6, 1.4)),
        Rule(AUDIO + r"subsample_conv_projection\.input_proj_linear\.weight", Bell(1.4, fan_in=True)),
        Rule(CONFORMER + r"(norm|.*_norm)\.weight", Uniform(0.6, 1.4)),
        Rule(
            CONFORMER + r"attention\.attn\.([qkv]_proj|relative_position_embedding\.pos_proj)\.weight", Bell(1.0, True)
        ),
        Rule(CONFORMER + r"attention\.attn\.per_dim_scale", Uniform(-1.5, 1.5)),
        Rule(CONFORMER + r"attention\.post\.weight", Bell(1.0, fan_in=True)),
        Rule(CONFORMER + r"ffw_layer_(start|end)\.ffw_layer_[12]\.weight", Bell(1.0, fan_in=True)),
        Rule(CONFORMER + r"lconv1d\.(linear_start|linear_end|depthwise_conv1d)\.weight", Bell(1.0, fan_in=True)),
    )


def shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the name and shape of every tensor of the file: the reference's own, and the unused shared k and v.

    Without towers in the configuration they are the language model's.
    """
    import torch
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration

    with torch.device("meta"):
        model = Gemma3nForConditionalGeneration(Gemma3nConfig.from_dict(dict(config)))
    # The word embedding is tied: published checkpoints have no lm_head.
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    if is_text_only(config):
        found = {name: shape for name, shape in found.items() if name.startswith("model.language_model.")}
    return found | dict(shared_key_values(config["text_config"]))


def shared_key_values(text: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    """Yield what KV-shared layers never read: transformers drops it, published files have it, llama.cpp needs it."""
    layers, width, head_dim = text["num_hidden_layers"], text["hidden_size"], text["head_dim"]
    for layer in range(layers - text["num_kv_shared_layers"], layers):
        prefix = f"model.language_model.layers.{layer}.self_attn"
        yield f"{prefix}.k_proj.weight", (text["num_key_value_heads"] * head_dim, width)
        yield f"{prefix}.v_proj.weight", (text["num_key_value_heads"] * head_dim, width)
        yield f"{prefix}.k_norm.weight", (head_dim,)
