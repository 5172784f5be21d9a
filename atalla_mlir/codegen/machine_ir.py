"""Machine code before registers are numbered: functions, blocks and instructions over virtual registers.

Plain values, no MLIR. Not SSA: a virtual register may be written more than once, which is how loop-carried values and
merging lane operations (inactive lanes keep the old destination) are expressed. The scheduler and the register
allocator work on this form; `Function.verify` states what they may assume.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from atalla_mlir.errors import InternalError
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import INSTRUCTIONS, Format, Instruction, Operand, Role, Unit
from atalla_mlir.target.registers import ALL_ONES_MASK, FILES, HARD_WIRED, RegisterFile

ANY_OBJECT = "*"
"""`MemoryRef.object` of an access that may touch anything in its space."""

DMA_SHAPE = "atalla.dma_shape"
"""On a transfer whose metadata is computed: a metadata word with its pad and the most rows and columns it can have."""

PAD_SPACES = tuple(f"pad{pad}" for pad in range(4))


@dataclass(eq=False, frozen=True, slots=True)
class Register:
    """A virtual register, or a fixed one when `pinned` is its number. Equal only to itself; see `physical`."""

    file: RegisterFile
    index: int
    pinned: int | None = None

    @property
    def is_hard_wired(self) -> bool:
        return self.pinned == HARD_WIRED

    def __str__(self) -> str:
        return f"{self.file.value}{self.pinned}" if self.pinned is not None else f"%{self.file.value}{self.index}"


@cache
def physical(file: RegisterFile, number: int) -> Register:
    """The one `Register` object that stands for register `number` of `file`."""
    if not 0 <= number < FILES[file].count:
        raise InternalError(f"register {file.value}{number} does not exist, the file has {FILES[file].count}")
    return Register(file, number, number)


X0, V0, M0 = (physical(file, HARD_WIRED) for file in RegisterFile)
M1 = physical(RegisterFile.MASK, ALL_ONES_MASK)
"""All ones by convention, like m0, but in the other bank."""


@dataclass(frozen=True, slots=True)
class MemoryRef:
    """A range of memory that an instruction may touch.

    `low..high` is half open, in rows of a pad or bytes of DRAM from the start of `object`; None is unknown. Two refs
    with different objects never overlap unless one is `ANY_OBJECT`. A wait for a transfer is a write that earlier reads
    need not precede: the transfer began before them, so that they read other rows.
    """

    space: str
    object: str
    low: int | None
    high: int | None
    is_write: bool
    is_wait: bool = False

    @property
    def access(self) -> str:
        return "wait" if self.is_wait else "write" if self.is_write else "read"

    def conflicts(self, other: MemoryRef) -> bool:
        """Whether the two accesses must stay in program order."""
        if self.space != other.space or not (self.is_write or other.is_write):
            return False
        if self.object != other.object:
            return ANY_OBJECT in (self.object, other.object)
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low < other.high and other.low < self.high

    def __str__(self) -> str:
        bounds = ":".join("?" if bound is None else str(bound) for bound in (self.low, self.high))
        return f"{self.access} {self.space}:{self.object}[{bounds}]"


TURNS_MARK = "#"
"""`name#2`: an object that exists twice, used in turn by the iterations of a loop."""
AHEAD_MARK = "^"
"""`name^5`: rows that change from iteration to iteration, under a name for each use, and come to another use after at
least 5 iterations; no more may overlap."""
SPARE_MARK = "~"
"""`name~`: rows with spare ones before and after them, which a loop over the rows may write and read in two passes
more than it needs."""
_MEMORY_REF = re.compile(r"(read|write|wait) (\w+):([^\s,:\[\]]+)\[(\d+|\?):(\d+|\?)\]")


def format_memory(refs: Iterable[MemoryRef]) -> str:
    """Refs as text, such as `read pad2:weights[0:1], write dram:y[?:?]`; the form of attribute `atalla.memory`."""
    return ", ".join(map(str, refs))


@cache
def parse_memory(text: str) -> tuple[MemoryRef, ...]:
    """The refs that `format_memory` wrote; ValueError when the text has another form."""
    refs: list[MemoryRef] = []
    for part in filter(None, text.split(", ")):
        match = _MEMORY_REF.fullmatch(part)
        if match is None:
            raise ValueError(f"expected a memory access such as 'read pad2:weights[0:1]', got '{part}'")
        access, space, name, low, high = match.groups()
        bounds = [None if bound == "?" else int(bound) for bound in (low, high)]
        refs.append(MemoryRef(space, name, *bounds, is_write=access != "read", is_wait=access == "wait"))
    return tuple(refs)


# Places of operands that take a read port, and of those that are written, by mnemonic.
_PLACES = {
    op.mnemonic: (
        tuple(at for at, item in enumerate(op.operands) if item.takes_port),
        tuple(at for at, item in enumerate(op.operands) if item.is_written),
    )
    for op in INSTRUCTIONS
}


@dataclass(eq=False, slots=True)
class Inst:
    """One instruction. `operands` follow the table's order; IGNORED operands are int 0, targets are label strings.

    `merges`: inactive lanes keep the old destination, which is therefore read. `memory`: what a memory instruction
    touches; empty means unknown. `clobbers`: registers that a call overwrites. `dma_shape`: what a DMA's metadata
    register holds, when that is known.
    """

    op: Instruction
    operands: tuple[Register | int | str, ...]
    merges: bool = False
    memory: tuple[MemoryRef, ...] = ()
    clobbers: frozenset[tuple[RegisterFile, int]] = frozenset()
    source: str | None = None
    dma_shape: DmaShape | None = None
    defs: tuple[Register, ...] = field(init=False, repr=False)
    """Registers written, the hard-wired ones excluded; clobbers not included."""
    uses: tuple[Register, ...] = field(init=False, repr=False)
    """Registers read, the old destination of a merging instruction and ports included, hard-wired ones not."""
    port_reads: tuple[Register, ...] = field(init=False, repr=False)
    """Registers that take a read port and a bank, duplicates and register 0 included (5.2)."""

    def __post_init__(self) -> None:
        self.operands = tuple(self.operands)
        self._note_registers()

    def _note_registers(self) -> None:
        """Sets what follows from the operands, which is asked for far more often than these change."""
        operands = self.operands
        ports, results = _PLACES[self.op.mnemonic]
        if len(operands) < len(self.op.operands):  # `Function.verify` tells of those that are missing
            ports, results = ([at for at in places if at < len(operands)] for places in (ports, results))
        read: list[Register] = []
        used: list[Register] = []
        written: list[Register] = []
        for at in ports:
            value = operands[at]
            if isinstance(value, Register):
                read.append(value)
                if value.pinned != HARD_WIRED:
                    used.append(value)
        for at in results:
            value = operands[at]
            if isinstance(value, Register) and value.pinned != HARD_WIRED:
                written.append(value)
        self.port_reads, self.defs = tuple(read), tuple(written)
        self.uses = (*used, *written) if self.merges else tuple(used)

    @property
    def registers(self) -> Iterator[Register]:
        return (value for value in self.operands if isinstance(value, Register))

    @property
    def is_call(self) -> bool:
        """A jump that leaves a link: control comes back to the next block."""
        return (
            self.op.mnemonic in ("jal", "jalr")
            and isinstance(rd := self.operands[0], Register)
            and not rd.is_hard_wired
        )

    @property
    def target(self) -> str | None:
        """Label of a branch or `jal`."""
        if not self.op.is_control:
            return None
        return next((value for value in self.operands if isinstance(value, str)), None)

    @property
    def is_wait(self) -> bool:
        """A read of a transfer's address register into x0 waits for it; it counts as an access to its rows."""
        return self.op.mnemonic == "addi.s" and not self.defs

    @property
    def pad(self) -> int | None:
        """Pad of a `vreg` instruction or of a DMA whose pad is known; None for all others."""
        if self.op.format is Format.VM:
            sid = self.operands[-1]
            assert isinstance(sid, int)
            return sid
        if self.dma_shape is not None:
            return self.dma_shape.pad
        return next((PAD_SPACES.index(ref.space) for ref in self.memory if ref.space in PAD_SPACES), None)

    def with_operands(self, operands: tuple[Register | int | str, ...]) -> Inst:
        """The same with other operands."""
        return Inst(self.op, operands, self.merges, self.memory, self.clobbers, self.source, self.dma_shape)

    def replace_registers(self, mapping: dict[Register, Register]) -> None:
        """Renames operands in place; a register that is not in `mapping` stays."""
        self.operands = tuple(
            [mapping.get(value, value) if isinstance(value, Register) else value for value in self.operands]
        )
        self._note_registers()

    def memory_refs(self) -> tuple[MemoryRef, ...]:
        """`memory`, or for a memory instruction without it everything that the instruction could touch."""
        if self.memory or not self.op.is_memory:
            return self.memory
        return _unknown_memory(self)

    def __str__(self) -> str:
        text = f"{self.op.mnemonic} {', '.join(str(value) for value in self.operands)}".rstrip()
        notes = ["merges"] if self.merges else []
        notes += [str(ref) for ref in self.memory]
        notes += [f"clobbers {len(self.clobbers)}"] if self.clobbers else []
        return f"{text}  ; {', '.join(notes)}" if notes else text


def _unknown_memory(inst: Inst) -> tuple[MemoryRef, ...]:
    """Everything that a memory instruction without refs could touch."""
    pad = inst.pad
    if inst.op.format is Format.SDMA:
        loads = inst.op.mnemonic == "scpad.ld"
        spaces = PAD_SPACES if pad is None else PAD_SPACES[pad : pad + 1]
        pads = tuple(MemoryRef(space, ANY_OBJECT, None, None, loads) for space in spaces)
        return (*pads, MemoryRef("dram", ANY_OBJECT, None, None, not loads))
    space = "dram" if pad is None else PAD_SPACES[pad]
    return (MemoryRef(space, ANY_OBJECT, None, None, not inst.op.writes),)


@dataclass(eq=False, slots=True)
class Block:
    """Instructions that run one after the other; only the last may be a control instruction.

    `loop_depth` weighs the cost of its instructions. `packets`, when given, are the same instructions in packets that
    scheduling must keep.
    """

    label: str
    insts: list[Inst] = field(default_factory=list)
    loop_depth: int = 0
    packets: tuple[tuple[Inst, ...], ...] | None = None

    @property
    def control(self) -> Inst | None:
        """The control instruction at the end, if there is one."""
        return self.insts[-1] if self.insts and self.insts[-1].op.is_control else None

    @property
    def repeats(self) -> bool:
        """Whether it is a loop of its own."""
        return self.control is not None and self.control.target == self.label


@dataclass(frozen=True)
class SpillArea:
    """Where registers go that do not fit: `rows` rows of `pad` from byte address x[`base`], in units of one register.

    The area is the function's own: nothing else touches these rows. The instruction that writes `base` ends its block,
    so that all code after it may spill, however it is scheduled.
    """

    pad: int
    base: Register
    rows: int


@dataclass(eq=False)
class Function:
    """Blocks in layout order; the first is the entry, and control falls through to the next block."""

    name: str
    blocks: list[Block] = field(default_factory=list)
    spill_area: SpillArea | None = None

    def instructions(self) -> Iterator[Inst]:
        return (inst for block in self.blocks for inst in block.insts)

    def registers(self) -> Iterable[Register]:
        """Every register that occurs, each once, in order of appearance."""
        operands = dict.fromkeys(chain.from_iterable([inst.operands for inst in self.instructions()]))
        found = [value for value in operands if isinstance(value, Register)]
        if self.spill_area is not None and self.spill_area.base not in operands:
            found.append(self.spill_area.base)
        return found

    def new_register(self, file: RegisterFile) -> Register:
        """A virtual register whose index no other of the function has."""
        taken = max((register.index for register in self.registers() if register.file is file), default=-1)
        return Register(file, taken + 1)

    def successors(self) -> list[list[int]]:
        """For each block the indices of the blocks that may run next."""
        return control_flow([(block.label, block.control) for block in self.blocks])

    def verify(self) -> None:
        """Raises InternalError when the function is not well formed."""
        labels = [block.label for block in self.blocks]
        defined = set(labels)
        if len(defined) != len(labels):
            repeated = sorted(label for label in defined if labels.count(label) > 1)
            raise InternalError(f"function {self.name}: labels defined twice: {', '.join(repeated)}")
        for block in self.blocks:
            for position, inst in enumerate(block.insts):
                wrong = _wrong_operands(inst) or _wrong_memory(inst)
                if wrong is None and inst.op.is_control:
                    wrong = _wrong_control(inst, defined, is_last=position == len(block.insts) - 1)
                if wrong is not None:
                    where = f"function {self.name}, block {block.label}, instruction {position} '{inst}'"
                    raise InternalError(f"{where}: {wrong}")
        self._verify_spill_area()
        if self.blocks and not _ends_flow(self.blocks[-1].control):
            raise InternalError(f"function {self.name}: control runs off the end of the last block")

    def _verify_spill_area(self) -> None:
        if self.spill_area is None or self.spill_area.base.pinned is not None:
            return
        base = self.spill_area.base
        if any(base in inst.defs for block in self.blocks for inst in block.insts[:-1]):
            raise InternalError(f"function {self.name}: spill base {base} must be written at the end of a block")

    def dump(self) -> str:
        """The function as text, for debugging and tests."""
        lines = [f"function {self.name}"]
        for block in self.blocks:
            lines.append(f"{block.label}:  ; depth {block.loop_depth}")
            lines.extend(f"  {inst}" for inst in block.insts)
        return "\n".join(lines) + "\n"


def control_flow(blocks: list[tuple[str, Inst | None]]) -> list[list[int]]:
    """Successor indices of blocks given as (label, control instruction), in layout order."""
    position = {label: index for index, (label, _) in enumerate(blocks)}
    successors: list[list[int]] = []
    for index, (_, control) in enumerate(blocks):
        following = [index + 1] if index + 1 < len(blocks) and not _ends_flow(control) else []
        if control is not None and not control.is_call and control.target is not None:
            following.append(position[control.target])
        successors.append(following)
    return successors


def _ends_flow(control: Inst | None) -> bool:
    """Whether the next block in layout order is not reached."""
    return control is not None and not control.op.is_branch and not control.is_call


def _wrong_control(inst: Inst, labels: set[str], *, is_last: bool) -> str | None:
    if not is_last:
        return "a control instruction must be the last of its block"
    if inst.target is not None and not inst.is_call and inst.target not in labels:
        return f"label {inst.target} is not defined in the function"
    return None


def _wrong_operands(inst: Inst) -> str | None:
    if len(inst.operands) != len(inst.op.operands):
        return f"expected {len(inst.op.operands)} operands, got {len(inst.operands)}"
    for operand, value in zip(inst.op.operands, inst.operands, strict=True):
        if isinstance(value, Register) and value.file is operand.file and value.pinned is None:
            continue
        wrong = _wrong_operand(inst, operand, value)
        if wrong is not None:
            return wrong
    if inst.merges and not inst.op.merges:
        return f"{inst.op.mnemonic} writes its whole destination and cannot merge"
    if inst.op.is_pseudo:
        return f"{inst.op.mnemonic} has no encoding; use lui.s and addi.s"
    return None


def _wrong_operand(inst: Inst, operand: Operand, value: Register | int | str) -> str | None:
    if operand.role is Role.IGNORED:
        return f"{operand.name} is ignored by the machine and must be 0, got {value}" if value != 0 else None
    if operand.file is not None:
        if not isinstance(value, Register) or value.file is not operand.file:
            return f"{operand.name} must be a register of file {operand.file.value}, got {value}"
        if value.pinned is not None and value is not physical(value.file, value.pinned):
            return f"pinned register {value} must come from physical()"
    elif isinstance(value, str):
        if not inst.op.is_branch and inst.op.mnemonic != "jal":
            return f"{operand.name} must be a number, got label {value}"
    elif not isinstance(value, int) or not operand.field.fits(value):
        low, high = operand.field.minimum, operand.field.maximum
        return f"{operand.name} must be in {low}..{high}, got {value}"
    return None


def _wrong_memory(inst: Inst) -> str | None:
    if not inst.memory:
        return None
    if not inst.op.is_memory and not inst.is_call and not inst.is_wait:
        return f"{inst.op.mnemonic} does not access memory"
    for ref in inst.memory:
        if ref.space != "dram" and ref.space not in PAD_SPACES:
            return f"unknown memory space {ref.space}, expected dram or pad0..pad3"
        if ref.low is not None and ref.high is not None and ref.low > ref.high:
            return f"memory range {ref.low}:{ref.high} is reversed"
    return None


def order_key(inst: Inst) -> str | None:
    """The unit whose hidden state the instruction touches: `gemm.vv` reads, all others change it (2.9, 2.13)."""
    if inst.op.unit is Unit.GSAU:
        return "weights"
    return "transpose" if inst.op.unit is Unit.TRANSPOSE else None
