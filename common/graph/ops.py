"""The operators that a graph may use: functional, deterministic, without access to anything outside.

Names are those of ``torch.ops``: "aten.OPERATOR.OVERLOAD". Names under "sym." are integer arithmetic on
sizes, "getitem" takes one of an operator's several results. No torch is needed to read this list.
"""

from __future__ import annotations

from typing import Final

from common.errors import UnsupportedModelError
from common.graph.model import Graph

GETITEM: Final = "getitem"
SYMBOLIC_OPS: Final = frozenset(
    {"sym.add", "sym.sub", "sym.mul", "sym.floordiv", "sym.mod", "sym.neg", "sym.max", "sym.min"}
)

# Operator to its overloads; "" stands for "default".
_ATEN: Final[dict[str, str]] = {
    # layers with a kernel of their own
    "linear bilinear convolution embedding _embedding_bag": "",
    "layer_norm group_norm batch_norm instance_norm rms_norm": "",
    "scaled_dot_product_attention matmul mm bmm addmm baddbmm dot mv": "",
    "addbmm addmv addr outer _cdist_forward _pdist_forward": "",
    # pooling and resampling
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d": "",
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d": "",
    "_adaptive_avg_pool2d _adaptive_avg_pool3d": "",
    "adaptive_max_pool1d adaptive_max_pool2d": "",
    "max_pool2d_with_indices max_pool3d_with_indices": "",
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d": "default vec",
    "upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d": "default vec",
    "_upsample_nearest_exact1d _upsample_nearest_exact2d": "default vec",
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa": "default vec",
    "grid_sampler_2d grid_sampler pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im": "",
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d": "",
    "replication_pad1d replication_pad2d replication_pad3d": "",
    # activations
    "relu relu6 gelu silu mish elu selu celu leaky_relu hardtanh hardswish hardsigmoid softplus": "",
    "sigmoid tanh log_sigmoid prelu glu hardshrink softshrink threshold": "",
    "_softmax _log_softmax": "",
    "softmax log_softmax": "int",
    # arithmetic
    "add sub mul": "Tensor Scalar",
    "div": "Tensor Scalar Tensor_mode Scalar_mode",
    "floor_divide": "default Scalar",
    "rsub": "Tensor Scalar",
    "remainder fmod": "Tensor Scalar",
    "pow": "Tensor_Tensor Tensor_Scalar Scalar",
    "lerp": "Scalar Tensor",
    "addcmul addcdiv square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p abs neg sign sgn": "",
    "ceil floor trunc frac sin cos tan asin acos atan sinh cosh asinh acosh atanh atan2": "",
    "erf erfc erfinv sinc logit hypot logaddexp nan_to_num": "",
    "round": "default decimals",
    "clamp": "default Tensor",
    "clamp_min clamp_max": "default Tensor",
    "maximum minimum fmax fmin": "",
    # comparison and logic
    "eq ne lt le gt ge": "Tensor Scalar",
    "logical_and logical_or logical_xor logical_not bitwise_not isnan isinf isfinite": "",
    "bitwise_and bitwise_or bitwise_xor": "Tensor Scalar",
    "__lshift__ __rshift__": "Tensor Scalar",
    "bitwise_left_shift bitwise_right_shift": "Tensor Tensor_Scalar",
    "where": "self Scalar ScalarSelf ScalarOther",
    "masked_fill": "Scalar Tensor",
    # reduction and order
    "sum": "default dim_IntList",
    "mean": "default dim",
    "prod": "default dim_int",
    "any all": "default dim dims",
    "var std": "default dim correction",
    "var_mean std_mean": "correction dim",
    "amax amin argmax argmin logsumexp": "",
    "max min": "default dim",
    "median": "dim",
    "norm": "Scalar ScalarOpt_dim",
    "linalg_vector_norm cumsum cumprod topk": "",
    "sort": "default stable",
    "argsort": "default stable",
    "native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit_no_training": "",
    "_native_batch_norm_legit": "no_stats",
    "_fused_rms_norm _scaled_dot_product_flash_attention_for_cpu": "",
    # shape
    "reshape permute unsqueeze expand repeat t flip roll cat stack tile select_scatter": "",
    "transpose": "int",
    "flatten": "using_ints",
    "squeeze": "default dim dims",
    "split": "Tensor",
    "split_with_sizes chunk narrow slice_scatter diagonal tril triu unfold": "",
    "unbind movedim select": "int",
    "slice": "Tensor",
    "unflatten": "int",
    "repeat_interleave": "self_int",
    # indexing
    "index": "Tensor",
    "index_select gather index_put take_along_dim scatter_add one_hot index_add masked_scatter": "",
    "scatter_reduce": "two",
    "scatter": "src value",
    "bucketize": "Tensor",
    "index_fill": "int_Scalar int_Tensor",
    # making tensors
    "full full_like copy zeros zeros_like ones ones_like scalar_tensor eye": "",
    "new_full new_zeros new_ones": "",
    "arange": "default start start_step",
    "linspace": "",
    "fill": "Scalar Tensor",
    "_to_copy sym_numel": "",
    "sym_size": "int",
}

ALLOWED_OPS: Final = (
    frozenset(
        f"aten.{operator}.{overload}"
        for operators, overloads in _ATEN.items()
        for operator in operators.split()
        for overload in (overloads or "default").split()
    )
    | SYMBOLIC_OPS
    | {GETITEM}
)


def check_ops(graph: Graph) -> None:
    """Accept a graph of allowed operators.

    Raises:
        UnsupportedModelError: Names the first other operator and its layer.
    """
    for node in graph.nodes:
        check_op(node.op, node.layer)


def check_op(op: str, layer: str) -> None:
    """Accept an allowed operator.

    Raises:
        UnsupportedModelError: It is none; names it and its layer.
    """
    if op not in ALLOWED_OPS:
        raise UnsupportedModelError(
            f"Operator {op[:120]!r} in {place(layer)} cannot be delivered.",
            advice="Replace it in the model by operators of torch.nn or plain tensor arithmetic.",
        )


def place(layer: str) -> str:
    """A layer as messages name it."""
    return f"layer {layer[:200]!r}" if layer else "the model itself"
