"""Random layers of convolutional networks: any kernel, stride, padding, dilation and groups, pools, norms, resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.testing.draws import Draw, Family, Shapes

CHANNELS = (1, 3, 8, 31, 32, 33, 45)
_MOST_PIXELS = 400
"""Pixels of an image of several channels: a model of a seed takes about a second."""
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}

Layer = tuple[str, nn.Module, Shapes]


def _each(draw: Draw, rank: int, choices: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(draw.random.choice(choices) for _ in range(rank))


def _image(draw: Draw, least: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of an image: a few more than `least` each, at times many more in one."""
    extents = [size + draw.random.randint(0, 9) for size in least]
    if draw.random.random() < 0.2:
        at = draw.dim(len(extents))
        others = max(1, math.prod(extents) // extents[at])
        extents[at] = max(extents[at], min(draw.extent(), _MOST_PIXELS // others))
    return tuple(extents)


def _batch(draw: Draw) -> int:
    return draw.random.choice((1, 1, 1, 2, 3))


def _reach(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Pixels that one window spans."""
    return tuple(step * (size - 1) + 1 for size, step in zip(kernel, dilation, strict=True))


def _groups(draw: Draw, depthwise: bool) -> tuple[int, int, int]:
    """Groups, input and output channels."""
    if depthwise:
        groups = draw.random.choice(CHANNELS)
        return groups, groups, groups * draw.random.choice((1, 1, 1, 2))
    groups = draw.random.choice((1, 1, 1, 1, 2, 4))
    within = [channels for channels in CHANNELS if channels * groups <= 64]
    return groups, groups * draw.random.choice(within), groups * draw.random.choice(within)


def _convolution(draw: Draw, rank: int, *, depthwise: bool = False) -> Layer:
    kernel = _each(draw, rank, (1, 2, 3, 3, 5) if rank < 3 else (1, 2, 3))
    dilation = _each(draw, rank, (1, 1, 1, 2))
    same = draw.random.random() < 0.2
    stride = (1,) * rank if same else _each(draw, rank, (1, 1, 2, 3))
    padding = "same" if same else tuple(draw.random.randint(0, size) for size in kernel)
    groups, inputs, outputs = _groups(draw, depthwise)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw.random.random() < 0.7,
    }
    if not same:
        options["padding_mode"] = draw.random.choice(("zeros", "zeros", "zeros", "replicate"))
    shape = (_batch(draw), inputs, *_image(draw, _reach(kernel, dilation)))
    layer = _CONVOLUTIONS[rank](inputs, outputs, kernel, **options)
    return _text(f"conv{rank}d", inputs, outputs, kernel, **options), layer, (shape,)


def _text(name: str, *sizes: object, **options: object) -> str:
    return f"{name}({', '.join([*map(str, sizes), *(f'{key}={value}' for key, value in options.items())])})"


def _transposed(draw: Draw) -> Layer:
    rank = draw.random.choice((1, 2, 2))
    kernel = _each(draw, rank, (1, 2, 3, 4))
    stride, dilation = _each(draw, rank, (1, 2, 2, 3)), _each(draw, rank, (1, 1, 2))
    reach = _reach(kernel, dilation)
    groups, inputs, outputs = _groups(draw, depthwise=draw.random.random() < 0.2)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": tuple(draw.random.randint(0, (span - 1) // 2) for span in reach),
        "output_padding": tuple(draw.random.randint(0, max(a, b) - 1) for a, b in zip(stride, dilation, strict=True)),
        "groups": groups,
        "bias": draw.random.random() < 0.7,
        "dilation": dilation,
    }
    shape = (_batch(draw), inputs, *(draw.random.randint(1, 8) for _ in kernel))
    layer = _TRANSPOSED[rank](inputs, outputs, kernel, **options)
    return _text(f"conv_transpose{rank}d", inputs, outputs, kernel, **options), layer, (shape,)


def _pool(draw: Draw) -> Layer:
    rank = draw.random.choice((1, 2, 2, 2))
    kernel = _each(draw, rank, (1, 2, 3, 3, 5))
    options: dict[str, Any] = {
        "stride": _each(draw, rank, (1, 2, 2, 3)),
        "padding": tuple(draw.random.randint(0, size // 2) for size in kernel),
        "ceil_mode": draw.random.random() < 0.5,
    }
    span = kernel
    if draw.random.random() < 0.5:
        options["dilation"] = _each(draw, rank, (1, 1, 2))
        span = _reach(kernel, options["dilation"])
        name, layer = f"max_pool{rank}d", {1: nn.MaxPool1d, 2: nn.MaxPool2d}[rank](kernel, **options)
    else:
        options["count_include_pad"] = draw.random.random() < 0.5
        if rank == 2 and draw.random.random() < 0.2:
            options["divisor_override"] = draw.random.randint(1, 7)
        name, layer = f"avg_pool{rank}d", {1: nn.AvgPool1d, 2: nn.AvgPool2d}[rank](kernel, **options)
    return _text(name, kernel, **options), layer, ((_batch(draw), draw.random.choice(CHANNELS), *_image(draw, span)),)


def _adaptive_pool(draw: Draw) -> Layer:
    rank = draw.random.choice((1, 2, 2))
    size = tuple(draw.random.randint(1, 9) for _ in range(rank))
    kinds = {
        1: (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
        2: (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    }
    layer = draw.random.choice(kinds[rank])(size)
    image = tuple(draw.random.randint(1, 15) for _ in range(rank))
    return repr(layer), layer, ((_batch(draw), draw.random.choice(CHANNELS), *image),)


def _with_statistics(norm: nn.Module) -> nn.Module:
    """The norm with other factors, offsets and statistics than 1 and 0."""
    for values in (*norm.parameters(), *norm.buffers()):
        if values.is_floating_point():
            nn.init.uniform_(values, 0.5, 1.5)
    return norm


def _norm(draw: Draw) -> Layer:
    groups = draw.random.choice((1, 2, 4, 8))
    channels = groups * draw.random.choice((1, 3, 4, 8))
    norms: list[nn.Module] = [
        nn.BatchNorm2d(channels),
        nn.InstanceNorm2d(channels, affine=draw.random.random() < 0.5),
        nn.GroupNorm(groups, channels),
        nn.LocalResponseNorm(draw.random.choice((2, 3, 5))),
    ]
    norm = _with_statistics(draw.random.choice(norms))
    return repr(norm), norm, ((_batch(draw), channels, *_image(draw, (2, 1))),)


def _image_padding(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    mode = draw.random.choice(("constant", "reflect", "replicate", "circular"))
    shape = (_batch(draw), draw.random.choice(CHANNELS), *_image(draw, (4, 4)))
    least = -1 if mode == "constant" else 0
    amounts = [draw.random.randint(least, 3) for _ in range(4)]
    return f"{mode} pad({amounts})", lambda x: functional.pad(x, amounts, mode), (shape,)


def _resize(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    mode = draw.random.choice(("nearest", "nearest-exact", "bilinear", "bilinear", "bicubic", "area"))
    shape = (_batch(draw), draw.random.choice(CHANNELS), *_image(draw, (2, 2)))
    options: dict[str, Any] = {"mode": mode}
    if draw.random.random() < 0.5:
        options["scale_factor"] = draw.random.choice((0.5, 1.5, 2, 3))
    else:
        options["size"] = tuple(draw.random.randint(1, 20) for _ in range(2))
    if mode in ("bilinear", "bicubic"):
        options["align_corners"] = draw.random.random() < 0.5
    return f"interpolate({options})", lambda x: functional.interpolate(x, **options), (shape,)


def _shuffle(draw: Draw) -> Layer:
    factor = draw.random.choice((2, 3))
    batch, channels = _batch(draw), draw.random.choice((1, 3, 8))
    rows, cols = _image(draw, (1, 1))
    if draw.random.random() < 0.5:
        return f"pixel_shuffle({factor})", nn.PixelShuffle(factor), ((batch, channels * factor**2, rows, cols),)
    shape = (batch, channels, rows * factor, cols * factor)
    return f"pixel_unshuffle({factor})", nn.PixelUnshuffle(factor), (shape,)


class _Block(nn.Module):
    """Convolution, batch norm, activation, an addition where shapes allow, and a pool."""

    def __init__(self, convolution: nn.Module, norm: nn.Module, activation: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution, norm)
        self.activation, self.pool = activation, pool

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.pool(self.activation(y + x if y.shape == x.shape else y))


def _block(draw: Draw) -> Layer:
    text, convolution, shapes = _convolution(draw, 2, depthwise=draw.random.random() < 0.3)
    assert isinstance(convolution, nn.Conv2d)
    has_norm = draw.random.random() < 0.6
    norm = _with_statistics(nn.BatchNorm2d(convolution.out_channels)) if has_norm else nn.Identity()
    activations = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.ELU, nn.Identity)
    activation = draw.random.choice(activations)()
    pool = draw.random.choice((nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(1)))
    return f"{text} | {norm} | {activation} | {pool}", _Block(convolution, norm, activation, pool), shapes


IMAGE_FAMILIES: dict[str, Family] = {
    "convolution of rows": lambda draw: _convolution(draw, 1),
    "convolution": lambda draw: _convolution(draw, 2),
    "convolution of volumes": lambda draw: _convolution(draw, 3),
    "depthwise convolution": lambda draw: _convolution(draw, 2, depthwise=True),
    "transposed convolution": _transposed,
    "pool": _pool,
    "adaptive pool": _adaptive_pool,
    "norm": _norm,
    "image padding": _image_padding,
    "resize": _resize,
    "pixel shuffle": _shuffle,
    "block": _block,
}
"""What convolutional networks are made of."""
