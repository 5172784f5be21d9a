"""Banks and numbers of the registers of code in packets: by the native core, where there is one, else in Python.

The result is the same.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain

from atalla_mlir.codegen.banks import (
    FAR_FEWER,
    SWEEPS,
    KeptBank,
    LateWrite,
    bank_graphs,
    is_all_ones,
    loop_weight,
    prefer_banks,
)
from atalla_mlir.codegen.colouring import DISPLACEMENTS_PER_REGISTER, Colouring
from atalla_mlir.codegen.copy_merging import RegisterClasses, is_constant
from atalla_mlir.codegen.liveness import Packet, bits, live_ranges, reads_pinned
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.native_library import Code, Copies, WantedColours, library, place_of, starts_and_items
from atalla_mlir.target.registers import FILES, HARD_WIRED, RegisterFile

SpillCosts = Callable[[Mapping[Register, int]], Mapping[Register, float]]
"""What spilling each register costs, given the number of positions at which each is live."""

_FILES = {file: number for number, file in enumerate(RegisterFile)}


class RegisterCore:
    """The registers of a function: its blocks of packets, with loop depths and the blocks that may run next.

    Results in `late` should not wait for a write port, registers in `kept` should stay in their banks.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Packet]],
        depths: Sequence[int],
        successors: Sequence[Sequence[int]],
        late: Sequence[LateWrite] = (),
        kept: Sequence[KeptBank] = (),
    ) -> None:
        self._blocks, self._depths, self._successors = blocks, depths, successors
        self._late, self._kept = late, kept

    def prefer_banks(self) -> dict[Register, int]:
        """A bank for each virtual register, such that few that are read together are in one."""
        native = library()
        if native is None:
            return self._prefer_in_python()
        room = len(self._registers)
        chosen, banks = (array("i", bytes(4 * room)) for _ in range(2))
        size = native.atalla_prefer_banks(ctypes.byref(self._code), place_of(chosen), place_of(banks))
        return {self._registers[chosen[at]]: banks[at] for at in range(size)}

    def colour(
        self,
        available: Mapping[RegisterFile, Sequence[int]],
        banks: Mapping[Register, int],
        spill_costs: SpillCosts,
    ) -> tuple[dict[Register, int], list[Register]]:
        """Numbers of the `available` ones for all virtual registers, and those that must be spilled.

        Registers start from preferred `banks`.
        """
        native = library()
        if native is None:
            return self._colour_in_python(available, banks, spill_costs)
        wanted = self._wanted(available, banks)
        room = len(self._registers)
        chosen, spilled, lengths = (array("i", bytes(4 * room)) for _ in range(3))
        arguments = ctypes.byref(self._code), ctypes.byref(wanted), *map(place_of, (chosen, spilled, lengths))
        num_spilled = native.atalla_colour(*arguments)
        if num_spilled < 0:
            live = zip(self._registers, lengths, strict=True)
            costs = spill_costs({register: length for register, length in live if length >= 0})
            wanted.point(costs=(costs.get(register, 0.0) for register in self._registers))
            num_spilled = native.atalla_colour(*arguments)
        found = zip(self._registers, chosen, strict=True)
        given = {register: number for register, number in found if number >= 0}
        return given, [self._registers[spilled[at]] for at in range(num_spilled)]

    def merge_copies(
        self, copies: Sequence[tuple[Register, Register]], apart: Register | None
    ) -> dict[Register, Register]:
        """The registers for which another one stands, with that one, when the two sides of `copies` are merged in turn
        where that changes nothing. The register `apart` stays as it is."""
        native = library()
        if native is None:
            classes = RegisterClasses(self._blocks, self._successors, self._clobbers(), apart)
            for destination, source in copies:
                classes.merge(destination, source)
            return classes.merged()
        given = self._copies(copies, apart)
        merged = array("i", bytes(4 * len(self._registers)))
        native.atalla_merge_copies(ctypes.byref(self._code), ctypes.byref(given), place_of(merged))
        registers = self._registers
        return {registers[at]: registers[kept] for at, kept in enumerate(merged) if kept != at}

    def _prefer_in_python(self) -> dict[Register, int]:
        graphs = bank_graphs(self._blocks, self._depths, self._late, self._kept)
        masks = live_ranges(self._blocks, self._successors).masks
        banks: dict[Register, int] = {}
        for file, graph in graphs.items():
            virtual = {
                register: mask for register, mask in masks.items() if register.file is file and register.pinned is None
            }
            banks.update(prefer_banks(virtual, graph))
        return banks

    def _colour_in_python(
        self,
        available: Mapping[RegisterFile, Sequence[int]],
        banks: Mapping[Register, int],
        spill_costs: SpillCosts,
    ) -> tuple[dict[Register, int], list[Register]]:
        graphs = bank_graphs(self._blocks, self._depths, self._late, self._kept)
        ranges = live_ranges(self._blocks, self._successors).masks
        costs = spill_costs({register: mask.bit_count() for register, mask in ranges.items()})
        given: dict[Register, int] = {}
        spilled: list[Register] = []
        clobbers = self._clobbers()
        for file in RegisterFile:
            colouring = Colouring(file, available[file], graphs[file])
            masks = {register: mask for register, mask in ranges.items() if register.file is file}
            for register in [register for register in masks if register.pinned is not None]:
                colouring.reserve(register.pinned or 0, masks.pop(register))
            for clobbered, number, position in clobbers:
                if clobbered is file:
                    colouring.reserve(number, bits(position, position + 1))
            spilled.extend(colouring.assign(masks, costs, banks))
            given.update(colouring.numbers)
        return given, spilled

    def _clobbers(self) -> list[tuple[RegisterFile, int, int]]:
        """Which registers calls overwrite after which positions."""
        found: list[tuple[RegisterFile, int, int]] = []
        position = 0
        for packet in chain.from_iterable(self._blocks):
            position += len(packet)
            for inst in packet:
                if inst.clobbers:
                    found.extend([(file, number, position - 1) for file, number in inst.clobbers])
        return found

    @cached_property
    def _registers(self) -> list[Register]:
        """The registers that occur, by number."""
        return list(self._numbers)

    @cached_property
    def _insts(self) -> list[Inst]:
        return list(chain.from_iterable(chain.from_iterable(self._blocks)))

    @cached_property
    def _numbers(self) -> dict[Register, int]:
        occurring = dict.fromkeys(chain.from_iterable([inst.port_reads for inst in self._insts]))
        occurring.update(dict.fromkeys(chain.from_iterable([inst.defs for inst in self._insts])))
        return {register: number for number, register in enumerate(occurring)}

    def _numbered(self, lists: Sequence[Sequence[Register]]) -> tuple[array[int], array[int]]:
        """Lists of registers as starts and numbers."""
        items = map(self._numbers.__getitem__, chain.from_iterable(lists))
        return array("i", accumulate(map(len, lists), initial=0)), array("i", list(items))

    @cached_property
    def _code(self) -> Code:
        packets, insts = list(chain.from_iterable(self._blocks)), self._insts
        number, registers = self._numbers.__getitem__, self._registers
        read_starts, reads = self._numbered([inst.port_reads for inst in insts])
        def_starts, defs = self._numbered([inst.defs for inst in insts])
        successor_starts, successors = starts_and_items(self._successors)
        kept = [entry for entry in self._kept if entry[0] in self._numbers]
        code = Code(
            num_registers=len(registers),
            num_blocks=len(self._blocks),
            sweeps=SWEEPS,
            far_fewer=FAR_FEWER,
            num_late=len(self._late),
            num_kept=len(kept),
            num_banks=tuple(FILES[file].banks for file in RegisterFile),
            num_physical=tuple(FILES[file].count for file in RegisterFile),
        )
        code.point(
            files=[_FILES[register.file] for register in registers],
            indices=[register.index for register in registers],
            pinned=[-1 if register.pinned is None else register.pinned for register in registers],
            is_hard_wired=[register.pinned == HARD_WIRED for register in registers],
            is_all_ones=map(is_all_ones, registers),
            block_starts=accumulate(map(len, self._blocks), initial=0),
            packet_starts=accumulate(map(len, packets), initial=0),
            read_starts=read_starts,
            reads=reads,
            def_starts=def_starts,
            defs=defs,
            merges=[inst.merges for inst in insts],
            passes_pinned=[inst.op.is_control and reads_pinned(inst) for inst in insts],
            weights=map(loop_weight, self._depths),
            successor_starts=successor_starts,
            successors=successors,
            late_writes=(number(register) for register, _, _ in self._late),
            late_rivals=(number(register) for _, register, _ in self._late),
            late_weights=(weight for _, _, weight in self._late),
            kept=(self._numbers[register] for register, _, _ in kept),
            kept_banks=(bank for _, bank, _ in kept),
            kept_weights=(weight for _, _, weight in kept),
        )
        return code

    def _copies(self, copies: Sequence[tuple[Register, Register]], apart: Register | None) -> Copies:
        numbers, clobbers = self._numbers, self._clobbers()
        given = Copies(
            size=len(copies), num_clobbers=len(clobbers), apart=-1 if apart is None else numbers.get(apart, -1)
        )
        given.point(
            destinations=[numbers[destination] for destination, _ in copies],
            sources=[numbers[source] for _, source in copies],
            is_constant=map(is_constant, self._registers),
            clobber_files=[_FILES[file] for file, _, _ in clobbers],
            clobber_numbers=[number for _, number, _ in clobbers],
            clobber_positions=[position for _, _, position in clobbers],
        )
        return given

    def _wanted(self, available: Mapping[RegisterFile, Sequence[int]], banks: Mapping[Register, int]) -> WantedColours:
        numbers = self._numbers
        known = [(numbers[register], bank) for register, bank in banks.items() if register in numbers]
        clobbers = self._clobbers()
        wanted = WantedColours(
            has_known=bool(banks),
            num_known=len(known),
            num_clobbers=len(clobbers),
            displacements=DISPLACEMENTS_PER_REGISTER,
        )
        starts, items = starts_and_items([available[file] for file in RegisterFile])
        wanted.point(
            known=(number for number, _ in known),
            known_banks=(bank for _, bank in known),
            available_starts=starts,
            available=items,
            clobber_files=(_FILES[file] for file, _, _ in clobbers),
            clobber_numbers=(number for _, number, _ in clobbers),
            clobber_positions=(position for _, _, position in clobbers),
        )
        return wanted
