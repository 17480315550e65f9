"""The operations a lifted graph may hold, by name: what cannot touch a file, a random generator or its arguments.

A checkpoint stores names only, and only these are looked up again, so that no file can call anything else.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import torch

# every overload of these that changes none of its arguments
ATEN = frozenset(
    """
    abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d add addbmm addcdiv addcmul addmm addmv affine_grid_generator all amax
    amin aminmax any arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d
    baddbmm batch_norm bilinear binary_cross_entropy binary_cross_entropy_with_logits bitwise_and bitwise_left_shift
    bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm broadcast_to bucketize cat cdist ceil celu
    channel_shuffle chunk clamp clamp_max clamp_min col2im complex concat concatenate constant_pad_nd conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution copy cos cosh cosine_similarity cross
    cross_entropy_loss cummax cummin cumprod cumsum deg2rad detach diag diag_embed diagonal diagonal_scatter diff
    div dot einsum elu embedding embedding_bag empty empty_like eq erf erfc erfinv exp exp2 expand expand_as expm1
    eye fill flatten flip fliplr flipud floor floor_divide fmax fmin fmod frac full full_like gather ge gelu glu
    grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru_cell gt hardshrink hardsigmoid hardswish hardtanh
    heaviside hstack huber_loss hypot im2col index index_add index_copy index_fill index_put index_select inner
    instance_norm isfinite isinf isnan kl_div kron l1_loss layer_norm le leaky_relu lerp linalg_cross linalg_matmul
    linalg_norm linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp logaddexp2
    logcumsumexp logical_and logical_not logical_or logical_xor logit logsumexp lstm_cell lt mT masked_fill
    masked_scatter matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices
    max_unpool2d max_unpool3d maximum mean median meshgrid min minimum mish mm moveaxis movedim mse_loss mul
    multiply mv nan_to_num nanmean nansum narrow narrow_copy native_batch_norm native_group_norm native_layer_norm
    ne neg new_empty new_full new_ones new_zeros nll_loss norm numpy_T one_hot ones ones_like outer pad
    pairwise_distance permute pixel_shuffle pixel_unshuffle polar pow prelu prod ravel reciprocal reflection_pad1d
    reflection_pad2d reflection_pad3d relu relu6 remainder renorm repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d reshape resolve_conj resolve_neg rms_norm rnn_relu_cell rnn_tanh_cell roll
    rot90 round rrelu rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce
    searchsorted select select_scatter selu sgn sigmoid sign silu sin sinc sinh slice slice_scatter smooth_l1_loss
    softmax softplus softshrink sort special_erf special_expit special_logsumexp split split_with_sizes sqrt square
    squeeze stack std std_mean sub subtract sum swapaxes swapdims sym_numel sym_size t take take_along_dim tan tanh
    tensor_split tensordot threshold tile to topk trace transpose tril tril_indices triu triu_indices true_divide
    trunc type_as unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean
    view_as_complex view_as_real vstack where zero zeros zeros_like _adaptive_avg_pool2d _adaptive_avg_pool3d
    _fused_rms_norm _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _safe_softmax
    _softmax _to_copy _unsafe_index _upsample_nearest_exact1d _upsample_nearest_exact2d _weight_norm
    """.split()
)

# what sizes are computed with, and what takes a tuple apart
PLAIN: dict[str, Callable[..., Any]] = {
    **{
        f"operator.{name}": getattr(operator, name)
        for name in "add sub mul floordiv truediv mod neg pow eq ne lt le gt ge and_ or_ not_ getitem abs".split()
    },
    **{f"math.{name}": getattr(math, name) for name in "trunc floor ceil sqrt".split()},
    **{f"builtins.{name}": getattr(builtins, name) for name in "max min int float round".split()},
    **{
        f"torch.{name}": getattr(torch, name)
        for name in "sym_max sym_min sym_float sym_int sym_not sym_ite sym_sum".split()
    },
    "torch.sym_sqrt": torch._sym_sqrt,  # type: ignore[attr-defined]
}
NAMES = {function: name for name, function in PLAIN.items()}

# tensors out of nothing: each gets the device of the weights when it is run
FACTORIES = frozenset("arange empty eye full linspace ones scalar_tensor tril_indices triu_indices zeros".split())


def name_of(target: Any) -> str | None:
    """The name under which an operation is stored, "aten.add.Tensor" or "operator.mul"; None if it is not allowed."""
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target._schema.name.partition("::")
        allowed = namespace == "aten" and name in ATEN and not target._schema.is_mutable
        return f"aten.{name}.{target._overloadname}" if allowed else None
    try:
        return NAMES.get(target)
    except TypeError:  # unhashable
        return None


def operation(name: str) -> Callable[..., Any]:
    """The operation stored under a name; raises KeyError for one that is not allowed."""
    if name in PLAIN:
        return PLAIN[name]
    parts = name.split(".")
    if len(parts) != 3 or parts[0] != "aten" or parts[1] not in ATEN:
        raise KeyError(name)
    found = getattr(getattr(torch.ops.aten, parts[1]), parts[2], None)
    if not isinstance(found, torch._ops.OpOverload) or name_of(found) != name:
        raise KeyError(name)
    return found


def makes_a_tensor(target: Any) -> bool:
    """Whether an operation makes a tensor out of nothing, and so must be told where."""
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return target._schema.name.removeprefix("aten::") in FACTORIES
