"""Another page policy under a compiled program: its kernels stay as they are, the pages that they get are others."""

from __future__ import annotations

import torch

from atalla_mlir.compiler import compile_model
from atalla_mlir.firmware.policy import POLICIES, policy_text, with_page_policy
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.zoo import registry


def run(loadable: Loadable, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The output and the cycles of the second call; the first one prepares the pads."""
    program = TorchProgram(loadable)
    program.device.timing = True
    program(x)
    y = program(x)
    return y, program.device.counters.cycles


def main() -> None:
    model, (x,) = registry.build("mlp")
    loadable = compile_model(model, (x,))
    expected, cycles = run(loadable, x)
    print(f"lowest pages first: {cycles} cycles")
    for name in POLICIES:
        y, cycles = run(with_page_policy(loadable, policy_text(name), f"{name}.s"), x)
        print(f"{name}: {cycles} cycles, {'the same' if torch.equal(y, expected) else 'DIFFERENT'} values")


if __name__ == "__main__":
    main()
