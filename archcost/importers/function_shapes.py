"""Functions that move, cut, join and pad elements, as programs over primitives."""

from __future__ import annotations

from typing import Any

from archcost.importers.registry import dims_of, flat, function
from archcost.shape import numel


@function("reshape", "view")
def reshape(F: Any, x: Any, *shape: Any) -> Any:
    """The same elements in another shape."""
    sizes = list(flat(shape))
    if -1 in sizes:
        rest = numel(tuple(n for n in sizes if n != -1))
        sizes[sizes.index(-1)] = numel(x.shape) // rest
    return F.reshape(x, shape=tuple(sizes))


@function("view_as", "reshape_as")
def reshape_as(F: Any, x: Any, other: Any) -> Any:
    """In the shape of another tensor."""
    return F.reshape(x, shape=other.shape)


@function()
def flatten(F: Any, x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Some dimensions as one."""
    start, end = start_dim % len(x.shape), end_dim % len(x.shape)
    return F.reshape(
        x, shape=(*x.shape[:start], numel(x.shape[start : end + 1]), *x.shape[end + 1 :])
    )


@function()
def unflatten(F: Any, x: Any, dim: int, sizes: Any) -> Any:
    """One dimension as several."""
    dim, sizes = dim % len(x.shape), list(sizes)
    if -1 in sizes:
        rest = numel(tuple(n for n in sizes if n != -1))
        sizes[sizes.index(-1)] = x.shape[dim] // rest
    return F.reshape(x, shape=(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


@function()
def unsqueeze(F: Any, x: Any, dim: int) -> Any:
    """A dimension of size 1 more."""
    dim %= len(x.shape) + 1
    return F.reshape(x, shape=(*x.shape[:dim], 1, *x.shape[dim:]))


@function()
def squeeze(F: Any, x: Any, dim: Any = None) -> Any:
    """Without dimensions of size 1."""
    where = dims_of(x, dim)
    kept = (n for d, n in enumerate(x.shape) if d not in where or n != 1)
    return F.reshape(x, shape=tuple(kept))


@function()
def permute(F: Any, x: Any, *dims: Any) -> Any:
    """The dimensions in another order."""
    return F.permute(x, dims=dims_of(x, flat(dims)))


@function("transpose", "swapaxes", "swapdims")
def transpose(F: Any, x: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions in each other's place."""
    order = list(range(len(x.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return F.permute(x, dims=tuple(order))


@function("T", "mT", "t", "H")
def transposed(F: Any, x: Any) -> Any:
    """The last two dimensions in each other's place."""
    return transpose(F, x, -2, -1) if len(x.shape) > 1 else x


@function()
def movedim(F: Any, x: Any, source: Any, destination: Any) -> Any:
    """Dimensions at other places."""
    old, new = dims_of(x, source), dims_of(x, destination)
    rest = [d for d in range(len(x.shape)) if d not in old]
    order = [rest.pop(0) if d not in new else old[new.index(d)] for d in range(len(x.shape))]
    return F.permute(x, dims=tuple(order))


@function("expand", "broadcast_to")
def expand(F: Any, x: Any, *sizes: Any) -> Any:
    """Sizes of 1 repeated as a view."""
    shape = flat(sizes)
    x = F.reshape(x, shape=(1,) * (len(shape) - len(x.shape)) + tuple(x.shape))
    return F.expand(
        x, shape=tuple(n if m == -1 else m for n, m in zip(x.shape, shape, strict=True))
    )


@function()
def expand_as(F: Any, x: Any, other: Any) -> Any:
    """Repeated to the shape of another tensor."""
    return expand(F, x, *other.shape)


@function()
def chunk(F: Any, x: Any, chunks: int, dim: int = 0) -> Any:
    """Pieces of equal lengths."""
    dim %= len(x.shape)
    each = -(-x.shape[dim] // chunks)
    return split(F, x, each, dim)


@function("split", "split_with_sizes", "tensor_split")
def split(F: Any, x: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Pieces of given lengths."""
    dim %= len(x.shape)
    lengths, size = split_size_or_sections, x.shape[dim]
    if not isinstance(lengths, (list, tuple)):
        each = lengths
        lengths = [each] * (size // each) + ([size % each] if size % each else [])
    if len(lengths) == 1:
        return [F.narrow(x, dim=dim, start=0, length=size)]
    return F.split(x, dim=dim, lengths=list(lengths))


@function()
def unbind(F: Any, x: Any, dim: int = 0) -> Any:
    """A piece for each position."""
    return F.unbind(x, dim=dim % len(x.shape))


@function()
def narrow(F: Any, x: Any, dim: int, start: int, length: int) -> Any:
    """A part along a dimension."""
    return F.narrow(x, dim=dim % len(x.shape), start=start, length=length)


@function()
def select(F: Any, x: Any, dim: int, index: int) -> Any:
    """One position along a dimension, which goes."""
    dim %= len(x.shape)
    x = F.narrow(x, dim=dim, start=index % x.shape[dim], length=1)
    return F.reshape(x, shape=(*x.shape[:dim], *x.shape[dim + 1 :]))


@function("__getitem__")
def getitem(F: Any, x: Any, index: Any) -> Any:
    """By whole numbers, slices, None and an ellipsis, or by a tensor of places."""
    if hasattr(index, "shape"):
        return F.index(x, index)
    index = index if isinstance(index, tuple) else (index,)
    places = [d for d, item in enumerate(index) if hasattr(item, "shape")]
    if len(places) == 1 and all(item == slice(None) for item in index[: places[0]]):
        return F.index(x, index[places[0]], dim=places[0])
    taken = sum(item is not None and item is not Ellipsis for item in index)
    rest = [slice(None)] * (len(x.shape) - taken)
    if Ellipsis in [item for item in index if not hasattr(item, "shape")]:
        at = [item is Ellipsis for item in index].index(True)
        index = (*index[:at], *rest, *index[at + 1 :])
    dim = 0
    for item in index:
        if item is None:
            x = unsqueeze(F, x, dim)
            dim += 1
        elif isinstance(item, slice):
            start, stop, step = item.indices(x.shape[dim])
            length = max(0, -(-(stop - start) // step))
            if length != x.shape[dim]:
                x = F.narrow(x, dim=dim, start=start, length=length, step=step)
            dim += 1
        else:
            x = select(F, x, dim, item)
    return x


@function("cat", "concat", "concatenate")
def cat(F: Any, tensors: Any, dim: int = 0) -> Any:
    """One after the other."""
    return F.cat(*tensors, dim=dim % len(tensors[0].shape))


@function()
def stack(F: Any, tensors: Any, dim: int = 0) -> Any:
    """Along a new dimension."""
    dim %= len(tensors[0].shape) + 1
    return F.cat(*[unsqueeze(F, x, dim) for x in tensors], dim=dim)


@function()
def roll(F: Any, x: Any, shifts: Any, dims: Any) -> Any:
    """Moved around."""
    shifts = shifts if isinstance(shifts, (list, tuple)) else (shifts,)
    return F.roll(x, shifts=tuple(shifts), dims=dims_of(x, dims))


@function("contiguous")
def contiguous(F: Any, x: Any, **_: Any) -> Any:
    """Laid out in order."""
    return F.contiguous(x)


@function("to", "float", "type_as", "half")
def same(F: Any, x: Any, *_: Any, **__: Any) -> Any:
    """The same tensor, where a cast changes nothing."""
    return x


@function("repeat", "tile")
def repeat(F: Any, x: Any, *sizes: Any) -> Any:
    """Copies one after the other."""
    times = flat(sizes)
    times = (1,) * (len(x.shape) - len(times)) + times
    x = F.reshape(x, shape=(1,) * (len(times) - len(x.shape)) + tuple(x.shape))
    return F.tile(x, repeats=tuple(times))


@function("pad")
def pad(F: Any, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """The last dimensions extended."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    sides = tuple(reversed(pairs))
    return F.pad(x, sides=sides, **({} if mode == "constant" else {"mode": mode}))


@function("clone")
def clone(F: Any, x: Any, **_: Any) -> Any:
    """A copy, which costs what a sum with a number does."""
    return F.add(x, 0.0)


@function("__setitem__", "index_put", "index_copy")
def setitem(F: Any, x: Any, index: Any, value: Any) -> Any:
    """The tensor itself, a part of which is replaced."""
    return F.copied_in_place(x, value if hasattr(value, "shape") else F.full(shape=(), like=x))


@function("zero", "fill")
def fill(F: Any, x: Any, *_: Any) -> Any:
    """The tensor itself, filled with a number."""
    return F.copied_in_place(x, F.full(shape=(), like=x))


@function("repeat_interleave")
def repeat_interleave(F: Any, x: Any, repeats: int, dim: int = 0, **_: Any) -> Any:
    """Each position so many times, one after the other."""
    dim %= len(x.shape)
    each = unsqueeze(F, x, dim + 1)
    whole = (*x.shape[: dim + 1], repeats, *x.shape[dim + 1 :])
    copied = F.contiguous(F.expand(each, shape=whole))
    return F.reshape(copied, shape=(*x.shape[:dim], x.shape[dim] * repeats, *x.shape[dim + 1 :]))


@function("embedding")
def embedding(F: Any, places: Any, table: Any, padding_idx: Any = None, *_: Any, **__: Any) -> Any:
    """Rows of a table."""
    return F.embedding(places, table)


@function("flip")
def flip(F: Any, x: Any, *dims: Any) -> Any:
    """In reverse order along dimensions."""
    return F.flip(x, dims=dims_of(x, flat(dims)))
