"""Networks of torchvision and timm, of few pixels; without the extra 'vision' blocks of the same kinds remain."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.frontend.torchvision_operators import declare_missing, import_module
from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify

MODELS = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5")


def check(model: nn.Module, *inputs: Tensor) -> Report:
    report = verify(model.eval(), inputs, strict=True)
    assert report.ok, report.summary()
    assert report.totals.cosine_f32 >= 0.999
    return report


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="the extra 'vision' is not installed")
@pytest.mark.parametrize("name", MODELS)
def test_models_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    check(import_module("torchvision").models.get_model(name, weights=None), torch.randn(1, 3, 32, 32))


def normed(inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Sequential:
    """A convolution with batch norm whose statistics are not those of a new layer."""
    norm = nn.BatchNorm2d(outputs)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert values is not None
        nn.init.uniform_(values, 0.5, 1.5)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, bias=False, **options), norm)


class SqueezeAndExcite(nn.Module):
    """MobileNetV3, EfficientNet, RegNet: channels are scaled by a function of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise = normed(8, 40, 1), normed(40, 40, 5, stride=2, padding=2, groups=40)
        self.squeeze, self.excite, self.project = nn.Conv2d(40, 12, 1), nn.Conv2d(12, 40, 1), normed(40, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.hardswish(self.depthwise(functional.silu(self.expand(x))))
        scale = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))
        return self.project(y * functional.hardsigmoid(self.excite(scale)))


class ChannelShuffle(nn.Module):
    """ShuffleNetV2: half of the channels go by, and both halves interleave."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(normed(12, 12, 1), normed(12, 12, 3, padding=1, groups=12), normed(12, 12, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        y = torch.cat([kept, torch.relu(self.branch(changed))], dim=1)
        batch, channels, rows, cols = y.shape
        return y.view(batch, 2, channels // 2, rows, cols).transpose(1, 2).reshape(batch, channels, rows, cols)


class DenseLayers(nn.Module):
    """DenseNet: norm before the convolution, over everything that came before, and a transition."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 12 * at) for at in range(4))
        self.layers = nn.ModuleList(nn.Conv2d(8 + 12 * at, 12, 3, padding=1, bias=False) for at in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms[:3], self.layers, strict=True):
            x = torch.cat([x, layer(torch.relu(norm(x)))], dim=1)
        return functional.avg_pool2d(torch.relu(self.norms[3](x)), 2)


class Branches(nn.Module):
    """GoogLeNet and Inception: branches with windows of 1x1, 1x7 and 7x1, 3x3 and a pool, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.pooled = normed(20, 9, 1), normed(20, 7, 1)
        self.seven = nn.Sequential(nn.Conv2d(20, 8, (1, 7), padding=(0, 3)), nn.Conv2d(8, 8, (7, 1), padding=(3, 0)))
        self.three = nn.Sequential(normed(20, 6, 1), nn.ReLU(), normed(6, 10, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(functional.max_pool2d(x, 3, 1, 1, ceil_mode=True))
        return torch.relu(torch.cat([self.one(x), self.seven(x), self.three(x), pooled], dim=1))


class ScaledResidual(nn.Module):
    """ConvNeXt: a 7x7 depthwise convolution, layer norm over channels that lie last, a gated residual."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(40, 40, 7, padding=3, groups=40), nn.LayerNorm(40)
        self.wide, self.narrow = nn.Linear(40, 96), nn.Linear(96, 40)
        self.scale = nn.Parameter(torch.full((40, 1, 1), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


class ShiftedWindows(nn.Module):
    """Swin: attention inside windows of an image that is rolled, with a table of position biases."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.LayerNorm(32)
        self.table = nn.Parameter(torch.randn(49, 2))
        places = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + 3
        self.register_buffer("index", (apart[0] * 7 + apart[1]).flatten())

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, cols, width = x.shape
        y = torch.roll(self.norm(x), (-2, -2), (1, 2))
        y = y.view(batch, rows // 4, 4, cols // 4, 4, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, width)
        q, k, v = self.qkv(y).view(-1, 16, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index].view(16, 16, 2).permute(2, 0, 1)
        y = torch.softmax(q @ k.transpose(-2, -1) * 0.25 + bias, -1) @ v
        y = self.project(y.transpose(1, 2).reshape(-1, 16, width))
        y = y.view(batch, rows // 4, cols // 4, 4, 4, width).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
        return x + torch.roll(y, (2, 2), (1, 2))


class SideGroups(nn.Module):
    """ResNeXt: a bottleneck whose 3x3 convolution has many groups, and a projection beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            normed(24, 64, 1),
            nn.ReLU(),
            normed(64, 64, 3, stride=2, padding=1, groups=16),
            nn.ReLU(),
            normed(64, 40, 1),
        )
        self.beside = normed(24, 40, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.beside(x))


BLOCKS: dict[type[nn.Module], tuple[int, ...]] = {
    SqueezeAndExcite: (1, 8, 9, 10),
    ChannelShuffle: (2, 24, 6, 5),
    DenseLayers: (1, 8, 8, 6),
    Branches: (1, 20, 9, 8),
    ScaledResidual: (1, 40, 9, 8),
    ShiftedWindows: (1, 8, 8, 32),
    SideGroups: (1, 24, 7, 8),
}


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.__name__)
def test_blocks(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    check(kind(), torch.randn(BLOCKS[kind]))


# torchvision beside a PyTorch that its library was not built for

STUB = """
import torch
from torch import nn

torch.library.register_fake("torchvision::nms", lambda boxes, scores, threshold: boxes)


def build():
    return nn.ReLU(), (torch.randn(2),)
"""
PACKAGE = """
import torch

torch.library.register_fake("torchvision::nms", lambda boxes, scores, threshold: boxes)
from torchvision import models
"""


def run_apart(code: str, path: Path) -> str:
    """What a process of its own prints, in which nothing has been imported or declared."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *sys.path])}
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_other_errors_declare_nothing() -> None:
    assert not declare_missing(RuntimeError("operator own::nms does not exist"))


def test_a_file_that_misses_operators_runs_a_second_time(tmp_path: Path) -> None:
    (tmp_path / "vision.py").write_text(STUB)
    code = "from atalla_mlir.tools.model_argument import load_model\nprint(load_model('vision.py:build', {}).model)"
    assert run_apart(f"import os\nos.chdir({str(tmp_path)!r})\n{code}", tmp_path) == "ReLU()"


def test_others_import_the_package_by_themselves(tmp_path: Path) -> None:
    """A package in place of torchvision that needs its operators, imported by one that knows nothing of that."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "models.py").write_text("NAMES = ['tiny']\n")
    (tmp_path / "other.py").write_text("import torchvision\nfrom torchvision.models import NAMES\n")
    hook = "from atalla_mlir.frontend.torchvision_operators import import_for_others\nimport_for_others()\n"
    code = hook + "import other, torchvision\nprint(other.NAMES, other.torchvision is torchvision)"
    assert run_apart(code, tmp_path) == "['tiny'] True"
