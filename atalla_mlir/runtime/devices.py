"""A loadable on an engine: loaded once, started many times."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable

from atalla_mlir.errors import LimitError
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Damage, Entry, Loadable, LoadableError
from atalla_mlir.loadable.machine_record import machine_of
from atalla_mlir.runtime.device_registry import open_engine
from atalla_mlir.runtime.faults import DeviceTrapError, SourceMap, panic_error, trap_error
from atalla_mlir.sim.engine import Counters, Engine
from atalla_mlir.target.machine import Machine

_SIZES = ("vector_lanes", "pads", "pad_rows", "page_rows")
"""Parameters that a program depends on; the others change only its time."""


def _check_sizes(loadable: Loadable, compiled_for: Machine, machine: Machine) -> None:
    for name in _SIZES:
        wanted, offered = getattr(compiled_for, name), getattr(machine, name)
        if wanted != offered:
            raise LoadableError(
                f"the loadable was compiled for {name} = {wanted}, machine '{machine.name}' has {offered}; "
                "compile the model for it",
                Damage.WRONG_MACHINE,
            )
    if loadable.dram_size > machine.dram_bytes:
        raise LimitError(
            f"the program needs {loadable.dram_size} bytes of DRAM, machine '{machine.name}' has {machine.dram_bytes}"
        )


class Device:
    """An engine with a loadable in its memories.

    Everything in DRAM outlives a run; registers and pads are reset at each start. After a run that ended in an error
    the state stays for inspection, and the next start puts firmware and header back to how they were loaded.
    """

    def __init__(self, loadable: Loadable, engine: str | Engine = "auto", machine: Machine | None = None) -> None:
        compiled_for = machine_of(loadable)
        self.machine = machine or compiled_for
        _check_sizes(loadable, compiled_for, self.machine)
        self.loadable = loadable
        self.places = SourceMap(loadable)
        size = loadable.dram_size
        self.engine = engine if isinstance(engine, Engine) else open_engine(engine, self.machine, dram_bytes=size)
        self._failed = False
        self._has_firmware = False
        self._load()

    def _load(self) -> None:
        for segment in self.loadable.code_segments:
            self.engine.load_code(segment.address, bytes(segment.data))
        for segment in self.loadable.data_segments:
            if not segment.is_zero_fill:
                self.engine.write_dram(segment.address, segment.data)
        self.engine.set_source_map(self.places.by_pc())
        self._has_firmware = self._word(abi.HEADER_MAGIC_ADDRESS) == abi.HEADER_MAGIC

    def _restore_system(self) -> None:
        """Header and firmware state as loaded."""
        for segment in self.loadable.data_segments:
            if segment.address < abi.TENSORS_ADDRESS and not segment.is_zero_fill:
                self.engine.write_dram(segment.address, segment.data[: abi.TENSORS_ADDRESS - segment.address])

    def run(
        self,
        entry: Entry,
        *,
        timing: bool = False,
        max_packets: int | None = None,
        stops: frozenset[int] = frozenset(),
        on_stop: Callable[[Engine], None] | None = None,
    ) -> Counters:
        """Run `entry` on what is in DRAM; DeviceError when it does not come to its end.

        `on_stop` is called before each packet whose PC is in `stops`; it may look at the engine but not change it.
        """
        if self._failed:
            self._restore_system()
        self._failed = True
        self.engine.reset()
        self._choose(entry)
        while self._continue(entry, timing, max_packets, stops):
            if on_stop is not None:
                on_stop(self.engine)
        self._check_panic(entry)
        self._failed = False
        return copy.deepcopy(self.engine.counters)

    def _continue(self, entry: Entry, timing: bool, max_packets: int | None, stops: frozenset[int]) -> bool:
        """Run to the next stop (True) or to the end (False)."""
        left = None if max_packets is None else max(max_packets - self.engine.counters.packets, 0)
        result = self.engine.run(max_packets=left, breakpoints=stops, timing=timing)
        if result.reason == "limit":
            assert result.trap is not None
            where = self.places.place(result.pc)
            message = f"entry '{entry.name}' was not done after {max_packets} packets, at {where}"
            raise DeviceTrapError(message, result.trap)
        if result.trap is not None:
            raise trap_error(entry.name, result.trap, self.places)
        return result.reason == "breakpoint"

    def _choose(self, entry: Entry) -> None:
        """Say where to start: to the firmware, or without it to the core itself.

        An entry at PC 0 is a core start with the header as it is: what an imported image is.
        """
        if self._has_firmware and entry.pc:
            self.engine.write_dram(abi.ENTRY_ADDRESS, struct.pack("<I", entry.pc))
        else:
            self.engine.set_pc(entry.pc)

    def _word(self, address: int) -> int:
        return int.from_bytes(self.engine.read_dram(address, 4), "little")

    def _check_panic(self, entry: Entry) -> None:
        if self._has_firmware and self._word(abi.PANIC_ADDRESS):
            code, link = self._word(abi.PANIC_CODE_ADDRESS), self._word(abi.PANIC_LINK_ADDRESS)
            raise panic_error(entry.name, code, link, self.places)
