"""What PyTorch does inside a call: the operations that it dispatches, and what autograd keeps.

If archcost has no program for a function, it asks PyTorch itself. The function has a cost if
:mod:`torch.utils.flop_counter` counts each operation that it runs, or if the operation multiplies
and adds nothing: a pointwise function, a view, a move, a reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from archcost.importers.seen import Seen
from archcost.proofs.peaks import tracker
from archcost.pytorch.counter import LEFT_OUT
from archcost.pytorch.grouped import grouped_products
from archcost.pytorch.held import tensors_in

torch: Any = import_module("torch")
dispatch: Any = import_module("torch.utils._python_dispatch")

ARGUMENT, OUTPUT, OWN = "argument", "output", "own"
"""What a tensor that is kept for backward is to the call that keeps it."""


class Made(NamedTuple):
    """An output of a call.

    Attributes:
        view: which of the tensors that the call reads it lies in, -1 if in memory of its own.
        strides: with the batch.
        itemsize: bytes per element.
        learns: whether a gradient flows through it.
    """

    view: int
    strides: tuple[int, ...]
    itemsize: int
    learns: bool


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen of a call from inside.

    Attributes:
        outs: its outputs.
        keeps: what autograd keeps, as pairs: which of the tensors that it reads, which output, or
            an own tensor of so many bytes. None where no gradient was asked for.
        learning: which of the tensors that it reads needed a gradient.
        operations: those that it dispatched, None if nobody looked.
        macs: their multiply-accumulates.
        unpriced: the first of them whose multiply-accumulates are not known.
        again: runs the call by itself; None if it works in place.
    """

    outs: tuple[Made, ...]
    keeps: tuple[tuple[str, int], ...] | None
    learning: tuple[bool, ...]
    operations: tuple[str, ...] | None = None
    macs: int = 0
    unpriced: str = ""
    again: Callable[[], Between | None] | None = None

    @property
    def is_priced(self) -> bool:
        """Whether it is known what it multiplies."""
        return self.operations is not None and not self.unpriced


class Between(NamedTuple):
    """What a call makes beside its results, and drops again.

    Attributes:
        forward, backward: bytes; None where the call is several operations for
            autograd, which drop one by one what they keep.
        gradients: for each tensor that needs one, the strides of its gradient where that lies in
            the incoming one, else None.
    """

    forward: int
    backward: int | None
    gradients: tuple[tuple[int, ...] | None, ...]


def run_again(
    function: Any, args: Any, kwargs: Any, learning: tuple[bool, ...], training: bool
) -> Between:
    """Run a call by itself, forward and backward, and see what it makes in between.

    Tensors among the arguments are described as they were seen, or have their content.
    """
    leaves: list[Any] = []

    def fresh(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            leaf = value.detach()
            leaves.append(leaf.requires_grad_(training and learning[len(leaves)]))
            return leaf
        if isinstance(value, Seen):
            dtype = getattr(torch, value.dtype)
            leaf = torch.empty_strided(value.shape, value.strides, dtype=dtype, device="meta")
            leaves.append(leaf.requires_grad_(training and learning[len(leaves)]))
            return leaf
        if isinstance(value, (list, tuple)):
            return type(value)(map(fresh, value))
        if isinstance(value, dict):
            return {key: fresh(inner) for key, inner in value.items()}
        return value

    args, kwargs = fresh(args), fresh(kwargs)
    with torch.set_grad_enabled(training), tracker(leaves) as seen, grouped_products():
        made = function(*args, **kwargs)
        forward = seen.cut()[1] - seen.live[1]
    outs = [out for out in tensors_in(made) if out.requires_grad]
    single = len({out.grad_fn for out in outs}) == 1 and all(
        node is None or hasattr(node, "variable") for node, _ in outs[0].grad_fn.next_functions
    )
    trained = [leaf for leaf in leaves if leaf.requires_grad]
    if not outs:
        return Between(forward, 0, ())
    incoming = [torch.empty(out.shape, dtype=out.dtype, device=out.device) for out in outs]
    given = {storage_of(tensor) for tensor in incoming}
    with tracker([*leaves, *outs, *incoming]) as seen, grouped_products():
        found = torch.autograd.grad(outs, trained, incoming, allow_unused=True)
        most = seen.cut()[1]
    own = {storage_of(tensor): tensor.untyped_storage().nbytes() for tensor in found
           if tensor is not None and storage_of(tensor) not in given}  # fmt: skip
    there = tracker([*leaves, *outs, *incoming]).live[1]
    rules = tuple(
        tuple(tensor.stride()) if tensor is not None and storage_of(tensor) in given else None
        for tensor in found
    )
    more = most - there - sum(own.values())
    return Between(forward, max(0, more) if single else None, rules)


def kept_by(
    saved: list[Any], given: list[int], made: list[int], weights: Mapping[int, Any]
) -> tuple[tuple[str, int], ...]:
    """Return what tensors that are kept are to a call; each storage once.

    Args:
        saved: the tensors.
        given: the storages of those that the call reads.
        made: the storages of those that it makes.
        weights: the storages of parameters and buffers, which are there anyway.
    """
    found: dict[int, tuple[str, int]] = {}
    for tensor in saved:
        key = storage_of(tensor)
        if key in weights:
            continue
        if key in given:
            found[key] = (ARGUMENT, given.index(key))
        elif key in made:
            found[key] = (OUTPUT, made.index(key))
        else:
            found[key] = (OWN, tensor.untyped_storage().nbytes())
    return tuple(found.values())


def storage_of(tensor: Any) -> int:
    """Return what tells the storage of a tensor from others that live."""
    return int(tensor.untyped_storage()._cdata)


class Watch(dispatch.TorchDispatchMode):  # type: ignore[misc]
    """Notes the operations that a call dispatches, and their multiply-accumulates."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []
        self.macs, self.unpriced = 0, ""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation."""
        kwargs = kwargs or {}
        made = operation(*args, **kwargs)
        packet = operation.overloadpacket
        name = packet.__name__
        self.operations.append(name)
        registry = import_module("torch.utils.flop_counter").flop_registry
        if packet in registry:
            self.macs += int(registry[packet](*args, **kwargs, out_val=made)) // 2
        elif name in LEFT_OUT:
            self.macs += LEFT_OUT[name](*args)
        elif not _multiplies_nothing(operation, name):
            self.unpriced = self.unpriced or str(packet).replace("aten.", "aten::")
        return made


def _multiplies_nothing(operation: Any, name: str) -> bool:
    if operation.namespace not in ("aten", "prims"):
        return False
    if torch.Tag.pointwise in operation.tags or operation.is_view:
        return True
    forward = name.removesuffix("_backward")
    if forward != name:  # the gradient, by itself, of what multiplies nothing
        packet = getattr(torch.ops.aten, forward, None)
        return packet is not None and _multiplies_nothing(
            getattr(packet, packet.overloads()[0]), forward
        )
    return bool(MOVES & {name, name.removesuffix("_")})


MOVES = frozenset({
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_assert_async", "_assert_tensor_metadata",
    "_cdist_forward", "_conj", "_conj_physical", "_embedding_bag", "_embedding_bag_forward_only",
    "_euclidean_dist", "_fft_c2c", "_fft_c2r", "_fft_r2c", "_fused_dropout",
    "_fused_moving_avg_obs_fq_helper", "_fused_rms_norm", "_linalg_check_errors",
    "_local_scalar_dense", "_log_softmax", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_neg_view", "_pack_padded_sequence",
    "_pad_packed_sequence", "_resize_output", "_safe_softmax", "_softmax", "_to_copy", "_unique",
    "_unsafe_index", "_unsafe_index_put", "_unsafe_masked_index", "_unsafe_view",
    "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_weight_norm_interface",
    "adaptive_avg_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid_generator",
    "all", "amax", "amin", "aminmax", "any", "arange", "argmax", "argmin", "argsort", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "bernoulli", "bincount", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "block_diag", "bucketize", "cat", "celu", "channel_shuffle",
    "clone", "col2im", "complex", "constant_pad_nd", "contiguous", "copy", "copy_", "count_nonzero",
    "cummax", "cummin", "cumprod", "cumsum", "detach", "diag", "diag_embed", "diagonal_copy", "elu",
    "embedding", "empty", "empty_like", "empty_permuted", "empty_strided", "equal", "exponential",
    "eye", "fill", "flip", "floor_divide", "fractional_max_pool2d", "fractional_max_pool3d", "full",
    "full_like",
    "gather", "geometric", "glu", "grid_sampler_2d", "grid_sampler_3d", "histc", "huber_loss",
    "im2col", "index", "index_add", "index_copy", "index_fill", "index_put", "index_reduce",
    "index_select", "kl_div", "kthvalue", "lift_fresh", "lift_fresh_copy", "linalg_cross",
    "linalg_vector_norm", "linspace", "log_normal", "log_sigmoid_forward", "logcumsumexp", "logit",
    "logspace", "logsumexp", "masked_fill", "masked_scatter", "masked_select", "max",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "max_unpool2d", "max_unpool3d", "maximum",
    "mean", "median", "min", "minimum", "mode", "mse_loss", "multinomial", "nan_to_num",
    "nanmedian", "nansum", "native_batch_norm", "native_dropout", "native_group_norm",
    "native_layer_norm", "native_norm", "new_empty", "new_empty_strided", "new_full", "new_ones",
    "new_zeros", "nll_loss2d_forward", "nll_loss_forward", "nonzero", "norm", "norm_except_dim",
    "normal", "one_hot", "ones", "ones_like", "permute_copy", "pixel_shuffle", "pixel_unshuffle",
    "poisson", "prelu", "prod", "put", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "random", "randperm", "range", "reflection_pad1d", "reflection_pad2d",
    "reflection_pad3d", "relu", "renorm", "repeat", "repeat_interleave", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "resize", "roll", "rot90", "rrelu_with_noise", "rsub",
    "scalar_tensor", "scatter", "scatter_add", "scatter_reduce", "searchsorted", "select_copy",
    "select_scatter", "slice_copy", "slice_scatter", "smooth_l1_loss", "soft_margin_loss",
    "softmax", "sort", "split", "split_with_sizes", "squeeze_", "stack", "std", "std_mean", "sum",
    "swapaxes_", "sym_numel", "sym_size", "t_", "take", "tile", "topk", "trace", "transpose_",
    "tril", "tril_indices", "triu", "triu_indices", "unfold_copy", "uniform", "unique_consecutive",
    "unique_dim", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze_",
    "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d", "var", "var_mean",
    "view_as_complex", "view_as_real", "where", "zero", "zeros", "zeros_like",
})  # fmt: skip
"""Operations of PyTorch that move, choose, compare, draw or add up elements, and norms, pooling and
resizing, which its counter holds to multiply nothing as well."""
