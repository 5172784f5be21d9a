"""Activations and powers that are made of expanded functions: on the device alone, and within their bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": functional.relu6,
    "hardtanh": functional.hardtanh,
    "hardswish": functional.hardswish,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "celu": lambda x: functional.celu(x, 1.3),
    "selu": functional.selu,
    "silu": functional.silu,
    "glu": functional.glu,
    "softplus": functional.softplus,
    "logsigmoid": functional.logsigmoid,
    "mish": functional.mish,
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "hardshrink": functional.hardshrink,
    "softshrink": functional.softshrink,
    "threshold": lambda x: functional.threshold(x, 0.3, -2.0),
    "exp2": torch.exp2,
    "log2": lambda x: torch.log2(x.abs()),
    "logit": lambda x: torch.logit(x, 0.1),
    "tan": torch.tan,
    "sign": torch.sign,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "x ** 13": lambda x: x**13,
    "x ** -3": lambda x: x**-3,
    "x ** 1.5": lambda x: x.abs() ** 1.5,
    "x ** -1.7": lambda x: x.abs() ** -1.7,
    "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_within_its_bound(name: str) -> None:
    generator = torch.Generator().manual_seed(len(name))
    rows, cols = (int(torch.randint(1, 40, (), generator=generator)) * 2 for _ in range(2))
    x = 3 * torch.randn(rows, cols, generator=generator)
    report = verify(Function(ACTIVATIONS[name]), (x,), strict=True)
    assert report.ok, report.summary()
    assert not any(stored.num_unbounded for row in report.ops for stored in row.stores)
