"""A device of one's own: a class in Python that programs run on, chosen by its name.

This one is the reference simulator behind a link that counts what goes over it, as a driver of a board would see it.
"""

from __future__ import annotations

from collections import Counter

import torch

import atalla_mlir as atalla
from atalla_mlir.runtime.device_core import DeviceCore, DeviceRequest
from atalla_mlir.runtime.device_registry import register_device, unregister_device
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Counters, RunResult
from atalla_mlir.zoo import registry

LINK: Counter[str] = Counter()
"""Bytes and starts that went over the link to all boards."""


class Board(DeviceCore):
    """What a driver has to do; the simulator stands for the hardware."""

    def __init__(self, request: DeviceRequest) -> None:
        self.hardware = create_engine("reference", request.machine)

    def load_code(self, pc: int, code: bytes) -> None:
        LINK["sent"] += len(code)
        self.hardware.load_code(pc, code)

    def write_dram(self, address: int, data: bytes) -> None:
        LINK["sent"] += len(data)
        self.hardware.write_dram(address, data)

    def read_dram(self, address: int, size: int) -> bytes:
        LINK["fetched"] += size
        return self.hardware.read_dram(address, size)

    def start(self, pc: int) -> None:
        LINK["starts"] += 1
        self.hardware.reset()
        self.hardware.set_pc(pc)

    def run(self, *, max_packets: int | None, timing: bool) -> RunResult:
        return self.hardware.run(max_packets=max_packets, timing=timing)

    @property
    def counters(self) -> Counters:
        return self.hardware.counters


def main() -> None:
    register_device("board", Board)
    try:
        model, (x,) = registry.build("basic")
        on_board = atalla.compile(model, (x,), engine="board")
        on_simulator = atalla.compile(model, (x,), engine="native")
        equal = torch.equal(on_board(x), on_simulator(x))
        print(f"board and simulator give {'the same' if equal else 'DIFFERENT'} values")
        print("link: {sent} bytes sent, {fetched} bytes fetched, {starts} start".format_map(LINK))
    finally:
        unregister_device("board")


if __name__ == "__main__":
    main()
