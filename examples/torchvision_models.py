"""Models of torchvision and timm with random weights: compiled, run and verified kernel by kernel, as a table.

python examples/torchvision_models.py mnasnet0_5 timm:levit_128s --size 64
python examples/torchvision_models.py                 all of MODELS, each at its own size: some hours
atalla-run examples/torchvision_models.py:build --arg name=swin_t --arg size=64 --verify

Needs the extra 'vision'. Without weights every model starts from the same seed; nothing is fetched.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.frontend.torchvision_operators import import_module

MODELS = {
    "convnext_tiny": 224,
    "densenet121": 224,
    "efficientnet_b0": 224,
    "googlenet": 224,
    "inception_v3": 299,
    "mnasnet0_5": 224,
    "mobilenet_v3_small": 224,
    "regnet_y_400mf": 224,
    "resnext50_32x4d": 224,
    "shufflenet_v2_x0_5": 224,
    "swin_t": 224,
    "vgg11_bn": 224,
}
"""Names of torchvision -> the size of images that they are published for."""


def build(name: str = "mobilenet_v3_small", size: int = 64, batch: int = 1) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model of torchvision, or of timm with `timm:` before the name."""
    package, _, model = name.rpartition(":")
    if package == "timm":
        module = import_module("timm").create_model(model, pretrained=False)
    else:
        models = import_module("torchvision").models
        takes_weights = "init_weights" in inspect.signature(models.get_model_builder(model)).parameters
        # the slow truncated normal distribution of the Inception models is not wanted
        module = models.get_model(model, weights=None, **({"init_weights": False} if takes_weights else {}))
    return module.eval(), (torch.randn(batch, 3, size, size),)


def row(name: str, size: int, batch: int) -> tuple[str, bool]:
    """One model of the table, and whether everything about it is right."""
    torch.manual_seed(0)
    model, inputs = build(name, size, batch)
    start = time.process_time()
    report = atalla.verify(model, inputs)
    kernels = [op for op in report.ops if op.device != "host"]
    right = sum(op.ok for op in kernels)
    on_host = "; ".join(f"{op['aten']}: {op['reason']}" for op in report.totals.host_ops) or "-"
    cosine, seconds = report.totals.cosine_f32, time.process_time() - start
    line = f"| {name} | {size} | {right} of {len(kernels)} | {cosine:.5f} | {on_host} | {seconds:.0f} |"
    return line, report.ok and cosine >= 0.999


def main(argv: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description="Verify models of torchvision and timm.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default {', '.join(MODELS)}")
    parser.add_argument("--size", type=int, help="pixels of a side (default what the model is published for, or 224)")
    parser.add_argument("--batch", type=int, default=1, help="images (default 1)")
    options = parser.parse_args(argv)
    print("| model | pixels | kernels within their bounds | cosine to float32 | on the host | seconds of CPU |")
    print("|---|---|---|---|---|---|")
    right = True
    for name in options.names or MODELS:
        line, is_right = row(name, options.size or MODELS.get(name, 224), options.batch)
        right &= is_right
        print(line, flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
