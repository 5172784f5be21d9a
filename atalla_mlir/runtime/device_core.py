"""What a device has to offer to run programs, and how such a device looks like an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.sim.engine import Counters, Engine, Rows, RunResult
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile


@dataclass(frozen=True)
class DeviceRequest:
    """What a program asks of a device."""

    machine: Machine
    """Parameters of the machine that it was compiled for; a device that is another one refuses."""
    argument: str = ""
    """What stood behind the colon of `NAME:ARGUMENT`."""
    dram_bytes: int = 0
    """DRAM that the program uses, from address 0 on."""


class DeviceCore(ABC):
    """One core with memories of its own: a board, a simulation of the real design, anything that runs packets.

    A third party derives from it and hands the class to `register_device`. Errors are DeviceError or any AtallaError.
    """

    @abstractmethod
    def load_code(self, pc: int, code: bytes) -> None:
        """Put packets of 20 bytes into instruction space from `pc` on."""

    @abstractmethod
    def write_dram(self, address: int, data: bytes) -> None: ...

    @abstractmethod
    def read_dram(self, address: int, size: int) -> bytes: ...

    @abstractmethod
    def start(self, pc: int) -> None:
        """Registers and pads as after power on, DRAM and code as they are; the next `run` starts at `pc`."""

    @abstractmethod
    def run(self, *, max_packets: int | None, timing: bool) -> RunResult:
        """To the halt, to a trap, or for `max_packets`; `timing` asks for cycles."""

    @property
    def counters(self) -> Counters | None:
        """What was executed since the start; None when the device does not count."""
        return None

    def close(self) -> None:  # noqa: B027 - most devices have nothing to do
        """The core is not needed any more."""


OpenDevice = Callable[[DeviceRequest], DeviceCore]
"""Opens one core of a device; programs that run at the same time ask for one each."""


class DeviceEngine(Engine):
    """A device's core where an engine is expected. What only simulators can do is refused."""

    def __init__(self, name: str, core: DeviceCore, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.core = core
        self._pc = 0
        self._is_started = False

    def load_code(self, pc_base: int, code: bytes) -> None:
        self.core.load_code(pc_base, bytes(code))

    def write_dram(self, address: int, data: bytes | memoryview | npt.NDArray[np.generic]) -> None:
        self.core.write_dram(address, data.tobytes() if isinstance(data, np.ndarray) else bytes(data))

    def read_dram(self, address: int, size: int) -> bytes:
        return self.core.read_dram(address, size)

    def reset(self) -> None:
        self._pc = 0
        self._is_started = False

    def set_pc(self, pc: int) -> None:
        self._pc = pc
        self._is_started = False

    def run(
        self, *, max_packets: int | None = None, breakpoints: frozenset[int] = frozenset(), timing: bool = False
    ) -> RunResult:
        if breakpoints:
            self._refuse("stop at breakpoints, which profiles and verification need")
        if not self._is_started:
            self.core.start(self._pc)
            self._is_started = True
        result = self.core.run(max_packets=max_packets, timing=timing)
        self._pc = result.pc
        return result

    @property
    def pc(self) -> int:
        return self._pc

    @property
    def counters(self) -> Counters:
        return self.core.counters or Counters()

    def set_source_map(self, source_map: Mapping[int, str]) -> None:
        """Devices know nothing of sources; errors find them through the loadable."""

    def read_register(self, file: RegisterFile, index: int) -> int | Rows:
        self._refuse("read registers")

    def write_register(self, file: RegisterFile, index: int, value: int | Rows) -> None:
        self._refuse("write registers")

    def read_pad(self, pad: int, row: int, rows: int) -> Rows:
        self._refuse("read pads")

    def write_pad(self, pad: int, row: int, data: Rows) -> None:
        self._refuse("write pads")

    def snapshot(self) -> object:
        self._refuse("take snapshots")

    def restore(self, snapshot: object) -> None:
        self._refuse("restore snapshots")

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigurationError(f"device '{self.name}' cannot {what}; run on a simulator (native, reference)")


class EngineCore(DeviceCore):
    """An engine where a device's core is expected."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def load_code(self, pc: int, code: bytes) -> None:
        self.engine.load_code(pc, code)

    def write_dram(self, address: int, data: bytes) -> None:
        self.engine.write_dram(address, data)

    def read_dram(self, address: int, size: int) -> bytes:
        return self.engine.read_dram(address, size)

    def start(self, pc: int) -> None:
        self.engine.reset()
        self.engine.set_pc(pc)

    def run(self, *, max_packets: int | None, timing: bool) -> RunResult:
        return self.engine.run(max_packets=max_packets, timing=timing)

    @property
    def counters(self) -> Counters:
        return self.engine.counters
