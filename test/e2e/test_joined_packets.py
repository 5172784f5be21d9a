"""Kernels whose constants are made by the integer multiplier, too: where they are, and right values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atalla_mlir.compiler import compile_model
from atalla_mlir.host.verify import verify
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.mc.decode import Packet, decode_packets
from atalla_mlir.mc.instruction import MachineInstruction

MODELS = {
    "linear": (nn.Sequential(nn.Linear(64, 64), nn.ReLU()), (4, 64)),
    "convolution": (nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3)), (1, 3, 10, 10)),
    "softmax": (nn.Softmax(dim=-1), (8, 64)),
}


def _kernels(loadable: Loadable) -> list[list[Packet]]:
    found: list[list[Packet]] = []
    for kernel in loadable.meta["kernels"]:
        start, end = loadable.meta["functions"][kernel["function"]]
        segment = loadable.code_segment_of(start)
        assert segment is not None
        found.append(decode_packets(bytes(segment.data[start - segment.address : end - segment.address])))
    return found


def _products(packets: list[Packet]) -> list[tuple[Packet, MachineInstruction]]:
    """What is multiplied by a constant outside of loops, in its packet; kernels here have no other such products."""
    return [(packet, one) for packet in packets for one in packet if one is not None and one.op.mnemonic == "muli.s"]


@pytest.mark.parametrize("name", MODELS)
def test_constants_share_packets_and_values_are_right(name: str) -> None:
    model, shape = MODELS[name]
    inputs = (torch.randn(shape, generator=torch.Generator().manual_seed(1)),)
    for packets in _kernels(compile_model(model.eval(), inputs)):
        made = _products(packets)
        assert len(made) > 10
        assert all(any(one is not None and one.op.mnemonic != "muli.s" for one in packet) for packet, _ in made)
    assert verify(model, inputs).ok
