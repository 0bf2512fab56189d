"""torchvision's deformable convolution written with other operations, where its own does not load.

It computes, keeps and hides what torchvision's operator does: one operation forward and one
backward, in float32 under autocast of CUDA (``torchvision/csrc/ops/deform_conv2d.cpp``).
"""

from __future__ import annotations

from typing import Any

_SETTINGS = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
    "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask"
)
_TENSORS = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
FORWARD = f"deform_conv2d({_TENSORS}, {_SETTINGS}) -> Tensor"
BACKWARD = (
    f"_deform_conv2d_backward(Tensor grad, {_TENSORS}, {_SETTINGS}) -> ({('Tensor, ' * 5)[:-2]})"
)


def declare(torch: Any, registry: Any, operators: Any) -> None:
    """Define both in the namespace ``torchvision``, of which ``operators`` are the declarations."""
    operators.define(FORWARD)
    operators.define(BACKWARD)
    hand = _ByHand(torch)
    operators.impl("deform_conv2d", hand.forward, "CompositeExplicitAutograd")
    operators.impl("_deform_conv2d_backward", hand.backward, "CompositeExplicitAutograd")
    run = torch.ops.torchvision

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.settings = inputs[5:]

    def gradients(ctx: Any, grad: Any) -> Any:
        made = run._deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.settings)
        return (*made, *(None for _ in ctx.settings))

    registry.register_autograd(
        "torchvision::deform_conv2d", gradients, setup_context=keep, lib=operators
    )
    key = torch._C.DispatchKey.AutocastCUDA

    def single(*inputs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            tensors = [tensor.float() for tensor in inputs[:5]]
            return run.deform_conv2d(*tensors, *inputs[5:]).to(inputs[0].dtype)

    operators.impl("deform_conv2d", single, "AutocastCUDA")


class _ByHand:
    """The arithmetic: samples between four pixels, and a product with the weight."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.aten = torch, torch.ops.aten

    def _samples(self, x: Any, weight: Any, offset: Any, settings: Any) -> tuple[Any, Any, Any]:
        """Return the input with its offset groups in the batch, where it is read, and samples."""
        torch = self.torch
        (sh, sw, ph, pw, dh, dw), groups = settings[:6], settings[7]
        n, channels, height, width = x.shape
        kernel, out = weight.shape[2:], offset.shape[2:]
        moved = offset.reshape(n * groups, kernel[0], kernel[1], 2, *out)
        axes = zip((sh, sw), (ph, pw), (dh, dw), kernel, out, x.shape[2:], strict=True)
        places = []
        for i, (stride, pad, dilation, size, length, pixels) in enumerate(axes):
            # of each place of the kernel, at each output position; in place, as profilers count
            inside = torch.arange(0, size * dilation, dilation, device=x.device)
            start = torch.arange(-pad, length * stride - pad, stride, device=x.device)
            at = moved[:, :, :, i].clone()
            at.transpose(1 + i, -1).add_(inside)
            at.transpose(3 + i, -1).add_(start)
            places.append(at.mul_(2).add_(1).div_(pixels).sub_(1))
        grid = torch.stack(places[::-1], -1).reshape(n * groups, -1, out[1], 2)
        grouped = x.reshape(n * groups, channels // groups, height, width)
        samples = self.aten.grid_sampler_2d(grouped, grid, 0, 0, False)
        return grouped, grid, samples

    def _factors(self, samples: Any, weight: Any, offset: Any, mask: Any, settings: Any) -> Any:
        """Return the weight and the samples as batches of matrices, and the mask that fits."""
        n, _, *out = offset.shape
        groups, offset_groups, use_mask = settings[6:]
        places = weight[0, 0].numel()
        scale = mask.reshape(n * offset_groups, 1, places * out[0], out[1]) if use_mask else None
        columns = samples if scale is None else samples.clone().mul_(scale)
        # n, channels, places, positions -> n·groups, channels of a group · places, positions
        rows = (n * groups, weight.shape[1] * places, out[0] * out[1])
        matrix = weight.reshape(1, groups, -1, rows[1]).expand(n, -1, -1, -1)
        return matrix.reshape(rows[0], -1, rows[1]), columns.reshape(rows), scale

    def forward(
        self, x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *settings: Any
    ) -> Any:
        """Return the output."""
        *_, samples = self._samples(x, weight, offset, settings)
        matrix, columns, _ = self._factors(samples, weight, offset, mask, settings)
        out = columns.new_zeros(len(matrix), matrix.shape[1], columns.shape[2])
        self.aten.baddbmm_(out, matrix, columns)
        return self.aten.add(
            out.reshape(len(x), len(weight), *offset.shape[2:]), bias[:, None, None]
        )

    def backward(
        self, grad: Any, x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *settings: Any
    ) -> Any:
        """Return the gradients of all five tensors."""
        grouped, grid, samples = self._samples(x, weight, offset, settings)
        matrix, columns, scale = self._factors(samples, weight, offset, mask, settings)
        groups = settings[6]
        rows = grad.reshape(len(matrix), matrix.shape[1], columns.shape[2])
        to_columns = (matrix.mT @ rows).reshape(samples.shape)
        to_weight = (rows @ columns.mT).reshape(len(x), groups, -1).sum(0).reshape(weight.shape)
        to_mask = self.torch.zeros_like(mask)
        if scale is not None:
            to_mask = (to_columns * samples).sum(1).reshape(mask.shape)
            to_columns = to_columns * scale
        to_x, to_grid = self.aten.grid_sampler_2d_backward(
            to_columns, grouped, grid, 0, 0, False, [True, True]
        )
        height, width = x.shape[2:]
        places = (len(grid), weight[0, 0].numel(), *offset.shape[2:])
        across, down = (to_grid[..., i].reshape(places) for i in (0, 1))
        moved = self.torch.stack((down * 2 / height, across * 2 / width), 2)
        to_offset = moved.reshape(offset.shape).to(offset.dtype)
        return to_x.reshape(x.shape), to_weight, to_offset, to_mask, grad.sum((0, 2, 3))
