"""The steps of MobileNetV5's blocks, Gemma 3n's vision tower, in execution order.

All are maps, ``image channel height width``. A step is named after the module whose output it is, so its name is the
prefix of the checkpoint's weights: timm calls a norm behind a convolution ``bn``, though it is an RMSNorm. Steps that
are no module's output: ``attn.context``, a block's ``out``, and ``input`` of a norm that has no activation.

Convolutions have SAME padding: at stride 2 an even map is padded by one more zero row at the bottom and one more zero
column at the right than at the top and at the left.
"""

from __future__ import annotations

from parity.site import Assigned, Parameter, Returned, Site
from reference.common.steps import StepAt
from reference.gemma3n.steps.source import RMSNORM

MOBILENET = "https://arxiv.org/abs/2404.10518"
MULTI_QUERY = "https://arxiv.org/abs/1911.02150"
FUSED_INVERTED = "https://arxiv.org/abs/2104.00298"
LAYER_SCALE_PAPER = "https://arxiv.org/abs/2103.17239"
GELU = "https://arxiv.org/abs/1606.08415"

MAP = "image channel height width"

_BLOCKS, _LAYERS = "timm.models._efficientnet_blocks", "timm.layers"
NORM_ACT, BARE_NORM = f"{_LAYERS}.norm_act:RmsNormAct2d.forward", f"{_LAYERS}.norm:RmsNorm2d.forward"
SCALE = f"{_LAYERS}.layer_scale:LayerScale2d.forward"
CONV_NORM = f"{_LAYERS}.conv_bn_act:ConvNormAct.forward"
EDGE = f"{_BLOCKS}:EdgeResidual.forward"
INVERTED = f"{_BLOCKS}:UniversalInvertedResidual.forward"
MOBILE_ATTENTION = f"{_BLOCKS}:MobileAttention.forward"
ATTENTION = f"{_LAYERS}.attention2d:MultiQueryAttention2d.forward"


def step_at(
    name: str, meaning: str, function: str, target: Assigned | Parameter | Returned, paper: str = MOBILENET
) -> StepAt:
    """A map of the vision tower; `{path}` in its name is its module's path inside the tower."""
    return StepAt(f"vision.{name}", MAP, meaning, Site(function, target), paper=paper, needs="image")


# The norm of timm holds the activation as a module of its own, which is the identity in linear layers.
NORM = step_at("{path}", "RMSNorm over channels, before the activation where there is one", NORM_ACT, Assigned("x", 2),
               RMSNORM)  # fmt: skip
ACTIVATION = step_at("{path}", "tanh-form GELU", "torch.nn.modules.activation:GELU.forward", Returned(), GELU)
NORM_INPUT = step_at("{path}.input", "what a norm without activation sees: a depthwise convolution of stride 2, or the"
                     " fused map at the output's resolution", BARE_NORM, Parameter("x"))  # fmt: skip
NORM_ALONE = step_at("{path}", "RMSNorm over channels", BARE_NORM, Returned(), RMSNORM)
LAYER_SCALE = step_at("{path}", "the branch x a learned gain per channel", SCALE, Returned(), LAYER_SCALE_PAPER)

CONVOLUTION = step_at("{path}.conv", "convolution: 3 x 3 in the stem, depthwise in dw_start and dw_mid, else 1 x 1",
                      CONV_NORM, Assigned("x", 0))  # fmt: skip

EXPANSION = step_at("{path}.conv_exp", "3 x 3 convolution to four times the channels", EDGE, Assigned("x", 0),
                    FUSED_INVERTED)  # fmt: skip
POINTWISE = step_at("{path}.conv_pwl", "1 x 1 convolution back to the block's channels", EDGE, Assigned("x", 4),
                    FUSED_INVERTED)  # fmt: skip
EDGE_OUT = step_at("{path}.out", "the block's output: normed convolution, + its input where shapes allow", EDGE,
                   Returned(), FUSED_INVERTED)  # fmt: skip

INVERTED_OUT = step_at("{path}.out", "the block's output: scaled branch, + its input where shapes allow", INVERTED,
                       Returned())  # fmt: skip

QUERY = step_at("{path}.query", "query projection; channels are heads x key_dim", ATTENTION, Assigned("q", 0),
                MULTI_QUERY)  # fmt: skip
KEY = step_at("{path}.key", "key projection, one head for all queries", ATTENTION, Assigned("k", 0), MULTI_QUERY)
VALUE = step_at("{path}.value", "value projection, one head for all queries", ATTENTION, Assigned("v", 0), MULTI_QUERY)
CONTEXT = step_at("{path}.context", "softmax(q k^T / sqrt(key_dim)) v; channels are heads x key_dim", ATTENTION,
                  Assigned("o", 3), MULTI_QUERY)  # fmt: skip
OUTPUT = step_at("{path}.output", "output projection", ATTENTION, Returned(), MULTI_QUERY)
ATTENTION_OUT = step_at("{path}.out", "the block's output: scaled attention + the block's input", MOBILE_ATTENTION,
                        Returned())  # fmt: skip

BLOCK_STEPS = (
    CONVOLUTION, NORM, ACTIVATION, EXPANSION, POINTWISE, EDGE_OUT, INVERTED_OUT, QUERY, NORM_INPUT, NORM_ALONE, KEY,
    VALUE, CONTEXT, OUTPUT, LAYER_SCALE, ATTENTION_OUT,
)  # fmt: skip
"""Every family of the blocks' steps with its site."""
