"""Compile, run and verify three models of the zoo on the simulator; `make demo` runs this.

Every operation is on the device, every kernel is within its error bound, and the whole result is compared with float32
PyTorch. Exit status 0 only when all of that holds.
"""

from __future__ import annotations

import sys

import atalla_mlir as atalla
from atalla_mlir import zoo

MODELS = {"basic": {"dim": 32, "depth": 2}, "mlp": {}, "attention": {}}
LEAST_COSINE = 0.9999


def demonstrate(name: str, arguments: dict[str, object]) -> bool:
    """Compile and verify one model; whether everything about it is right."""
    model, inputs = zoo.build(name, **arguments)
    report = atalla.verify(model, inputs, strict=True)
    totals = report.totals
    print(f"\n{zoo.describe(name)}")
    print(report)
    print(
        f"coverage {100 * totals.device_flops_fraction:.0f} %, {totals.packets_executed} packets, "
        f"{totals.instructions_executed} instructions, cosine {totals.cosine_f32:.6f}"
    )
    return report.ok and totals.cosine_f32 >= LEAST_COSINE


def main() -> int:
    failed = [name for name, arguments in MODELS.items() if not demonstrate(name, arguments)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall models are right")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
