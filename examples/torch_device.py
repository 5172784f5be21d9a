"""The accelerator as a device of PyTorch: tensors in its DRAM, operations as compiled kernels, the rest on the CPU.

python examples/torch_device.py
"""

from __future__ import annotations

import copy

import torch
from torch import nn

import atalla_mlir as atalla
from atalla_mlir import torch_device, zoo


class Product(nn.Module):
    """The matrix product as a model, to compile it the other way."""

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x @ w


def main() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(32, 64), torch.randn(64, 48)
    y = x.to("atalla") @ w.to("atalla")
    same = torch.equal(y.cpu(), atalla.compile(Product(), (x, w))(x, w))
    print(f"product on {y.device}, {tuple(y.shape)}; same values as the compiled model: {same}")

    layer = nn.Linear(64, 10)
    z = copy.deepcopy(layer).to("atalla")(x.to("atalla"))
    print(f"linear layer: off by {(z.cpu() - layer(x)).abs().max().item():.1e}")

    for name in ("mlp", "attention"):
        model, inputs = zoo.build(name)
        there = copy.deepcopy(model).to("atalla")
        torch_device.reset_statistics()
        with torch.no_grad():
            for _ in range(2):
                result = there(*(value.to("atalla") for value in inputs))
        done = torch_device.statistics()
        print(
            f"{name}: off by {(result.cpu() - model(*inputs)).abs().max().item():.1e}; {done.launches} launches, "
            f"{done.compiled_calls} operations compiled, {done.cache_hits} found compiled, "
            f"{done.fallbacks.total()} on the CPU"
        )

    ordered, _ = torch.sort(y, dim=1)
    assert torch.equal(ordered.cpu(), torch.sort(y.cpu(), dim=1)[0])
    for operation, count in torch_device.statistics().fallbacks.items():
        print(f"{count} x {operation} on the CPU: {torch_device.statistics().reasons[operation]}")
    stats = torch.atalla.memory_stats()  # pyright: ignore[reportAttributeAccessIssue]
    print(f"memory: {stats.allocated_bytes} bytes in {stats.num_blocks} blocks, peak {stats.peak_allocated_bytes}")


if __name__ == "__main__":
    main()
