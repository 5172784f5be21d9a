"""The instruction table: all 79 instructions of the Atalla Ax01, each in one row.

Everything else about instructions is derived from here: encoder, decoder, assembler syntax, `ax01` operations,
scheduler resources, simulator dispatch, the C++ header and `docs/isa.md`. Row semantics are the machine
reference's section 2 in one line; `x`, `v`, `m` are the register files, `sx` sign-extends, `bf` rounds to BF16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from atalla_mlir.target import encoding as enc
from atalla_mlir.target.registers import FILES, RegisterFile


class Format(Enum):
    """Encoding formats of machine reference section 3."""

    R = auto()
    I = auto()  # noqa: E741 (the field's own name)
    BR = auto()
    M = auto()
    MI = auto()
    VV = auto()
    VS = auto()
    VI = auto()
    VMV = auto()
    VMS = auto()
    VTS = auto()
    MTS = auto()
    STM = auto()
    VM = auto()
    SDMA = auto()


class Role(Enum):
    """What an operand does."""

    READ = auto()
    WRITE = auto()
    READ_WRITE = auto()  # branch rs1 (compare, then increment); SDMA rs1 (read, held busy, keeps its value)
    PORT = auto()  # takes a read port and a bank, value unused (mask of lw.vi)
    IGNORED = auto()  # encoded, neither read nor written (rs2 of rcp.bf, vs2 and mask of gemm.vv)
    IMMEDIATE = auto()


class Unit(Enum):
    """Functional units; `VLSU` and `SDMA` exist once per pad, the lane units share the two lane ops per packet."""

    NONE = auto()
    EX1 = auto()
    EX2 = auto()
    EX3 = auto()
    EX4 = auto()
    EX5 = auto()
    LANE_ALU = auto()
    LANE_MUL = auto()
    LANE_EXP = auto()
    REDUCTION = auto()
    GSAU = auto()
    MTS = auto()
    VLSU = auto()
    SDMA = auto()
    TRANSPOSE = auto()

    __hash__ = object.__hash__  # Enum's own is a function in Python, and members are keys in inner loops


LANE_UNITS = frozenset({Unit.LANE_ALU, Unit.LANE_MUL, Unit.LANE_EXP, Unit.REDUCTION})


class Latency(Enum):
    """Latency class; `Machine.latency` gives each class its cycles under a parameter set."""

    NONE = auto()
    EX1 = auto()
    EX2_SHORT = auto()
    EX2_ROOT = auto()  # rcp.bf, sqrt.bf
    EX2_DIVIDE = auto()
    EX3 = auto()
    EX4 = auto()
    LOAD = auto()
    STORE = auto()
    ALU = auto()
    MUL = auto()
    EXP = auto()
    REDUCTION = auto()
    GEMM = auto()
    WEIGHT_PUSH = auto()
    MTS = auto()
    PAD_LOAD = auto()
    PAD_STORE = auto()
    TRANSPOSE_PUSH = auto()
    TRANSPOSE_POP = auto()
    DMA = auto()


@dataclass(frozen=True)
class Operand:
    """One operand: its field of the word, its register file (None for an immediate) and its role."""

    name: str
    field: enc.Field
    file: RegisterFile | None
    role: Role

    @cached_property
    def is_read(self) -> bool:
        return self.role in (Role.READ, Role.READ_WRITE)

    @cached_property
    def is_written(self) -> bool:
        return self.role in (Role.WRITE, Role.READ_WRITE)

    @cached_property
    def takes_port(self) -> bool:
        return self.role in (Role.READ, Role.READ_WRITE, Role.PORT)


@dataclass(frozen=True)
class Instruction:
    """A row of the table.

    `operands` are in assembly order. `merges` says that lanes (or mask bits) that are inactive keep the old
    destination. `is_pseudo` marks `li.s`, which is never encoded.
    """

    mnemonic: str
    opcode: int
    format: Format
    operands: tuple[Operand, ...]
    unit: Unit
    latency: Latency
    semantics: str
    merges: bool = False
    is_pseudo: bool = False

    @cached_property
    def op_name(self) -> str:
        """Name as an MLIR operation of the `ax01` dialect: `add.vv` is `ax01.add_vv`."""
        return self.mnemonic.replace(".", "_")

    @cached_property
    def reads(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.is_read)

    @cached_property
    def writes(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.is_written)

    @cached_property
    def immediates(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.role is Role.IMMEDIATE)

    @cached_property
    def by_name(self) -> dict[str, Operand]:
        return {operand.name: operand for operand in self.operands}

    def word(self, values: Sequence[int]) -> int:
        """The 40-bit word with values for the operands, in assembly order; ValueError when one does not fit."""
        word = self.opcode
        for (field, plain), value in zip(self._fields, values, strict=True):
            if plain is not None and plain[0] <= value <= plain[1]:
                word |= (value & plain[2]) << plain[3]
            else:
                word |= field.place(value)
        return word

    @cached_property
    def _fields(self) -> tuple[tuple[enc.Field, tuple[int, int, int, int] | None], ...]:
        """The fields of the operands, with what makes the usual ones quick to place."""
        return tuple((operand.field, operand.field.plain) for operand in self.operands)

    @cached_property
    def read_places(self) -> tuple[tuple[int, RegisterFile], ...]:
        """Positions of the operands that are registers read, with their files."""
        return tuple((at, item.file) for at, item in enumerate(self.operands) if item.file is not None and item.is_read)

    @cached_property
    def written_places(self) -> tuple[tuple[int, RegisterFile], ...]:
        """Positions of the operands that are registers written, with their files."""
        places = ((at, item.file) for at, item in enumerate(self.operands) if item.is_written)
        return tuple((at, file) for at, file in places if file is not None)

    @cached_property
    def port_places(self) -> Mapping[RegisterFile, tuple[int, ...]]:
        """For each file the positions of the operands that take a read port of it (5.2)."""
        ports = [(at, item.file) for at, item in enumerate(self.operands) if item.takes_port]
        return {file: tuple(at for at, other in ports if other is file) for file in RegisterFile}

    @cached_property
    def banked_places(self) -> tuple[tuple[int, str, int], ...]:
        """Positions of the operands that take a read port, with the names of their files and the banks of these."""
        ports = [(at, item.file) for at, item in enumerate(self.operands) if item.takes_port]
        return tuple((at, file.value, FILES[file].banks) for at, file in ports if file is not None)

    def port_count(self, file: RegisterFile) -> int:
        """Read ports of `file` that the instruction takes in its packet (5.2)."""
        return len(self.port_places[file])

    @cached_property
    def target_position(self) -> int | None:
        """Position of the operand that holds a distance in bytes from the PC; None when there is none."""
        if self.format is Format.BR:
            return self.operands.index(self.by_name["offset"])
        return self.operands.index(self.by_name["imm"]) if self.mnemonic == "jal" else None

    @cached_property
    def is_branch(self) -> bool:
        return self.format is Format.BR

    @cached_property
    def is_control(self) -> bool:
        return self.is_branch or self.mnemonic in ("jal", "jalr", "halt.s")

    @cached_property
    def is_memory(self) -> bool:
        return self.format in (Format.M, Format.VM, Format.SDMA)


_X, _V, _M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK
_R, _W, _RW, _P, _N = Role.READ, Role.WRITE, Role.READ_WRITE, Role.PORT, Role.IGNORED


def _imm(field: enc.Field, name: str | None = None) -> Operand:
    return Operand(name or field.name, field, None, Role.IMMEDIATE)


def _xreg(field: enc.Field, role: Role) -> Operand:
    return Operand(field.name, field, _X, role)


def _vreg(field: enc.Field, role: Role) -> Operand:
    return Operand(field.name, field, _V, role)


def _mreg(field: enc.Field, role: Role) -> Operand:
    return Operand(field.name, field, _M, role)


_RD, _RS1, _RS2 = _xreg(enc.RD, _W), _xreg(enc.RS1, _R), _xreg(enc.RS2, _R)
_RS2_IGNORED = _xreg(enc.RS2, _N)
_VD, _VS1, _VS2 = _vreg(enc.VD, _W), _vreg(enc.VS1, _R), _vreg(enc.VS2, _R)
_MASK = _mreg(enc.MASK, _R)


def _r(mnemonic: str, opcode: int, unit: Unit, latency: Latency, semantics: str, *, unary: bool = False) -> Instruction:
    operands = (_RD, _RS1, _RS2_IGNORED if unary else _RS2)
    return Instruction(mnemonic, opcode, Format.R, operands, unit, latency, semantics)


def _i(mnemonic: str, opcode: int, unit: Unit, latency: Latency, semantics: str) -> Instruction:
    return Instruction(mnemonic, opcode, Format.I, (_RD, _RS1, _imm(enc.IMM12)), unit, latency, semantics)


def _branch(mnemonic: str, opcode: int, condition: str) -> Instruction:
    operands = (_xreg(enc.RS1, _RW), _RS2, _imm(enc.BRANCH_OFFSET), _imm(enc.INCR))
    semantics = f"if x[rs1] {condition} x[rs2]: PC = PC + offset; x[rs1] = old x[rs1] + incr, taken or not"
    return Instruction(mnemonic, opcode, Format.BR, operands, Unit.EX1, Latency.EX1, semantics)


def _load(mnemonic: str, opcode: int, semantics: str) -> Instruction:
    operands = (_RD, _imm(enc.IMM12), _RS1)
    return Instruction(mnemonic, opcode, Format.M, operands, Unit.EX5, Latency.LOAD, semantics)


def _store(mnemonic: str, opcode: int, semantics: str) -> Instruction:
    operands = (_xreg(enc.RD, _R), _imm(enc.IMM12), _RS1)
    return Instruction(mnemonic, opcode, Format.M, operands, Unit.EX5, Latency.STORE, semantics)


def _vv(mnemonic: str, opcode: int, unit: Unit, latency: Latency, semantics: str) -> Instruction:
    operands = (_VD, _VS1, _VS2, _MASK)
    return Instruction(mnemonic, opcode, Format.VV, operands, unit, latency, semantics, merges=True)


def _vs(mnemonic: str, opcode: int, unit: Unit, latency: Latency, semantics: str) -> Instruction:
    operands = (_VD, _VS1, _xreg(enc.VS_RS1, _R), _MASK)
    return Instruction(mnemonic, opcode, Format.VS, operands, unit, latency, semantics, merges=True)


def _reduce(mnemonic: str, opcode: int, what: str) -> Instruction:
    operands = (_VD, _VS1, _imm(enc.IMM8), _MASK)
    semantics = (
        f"r = {what} over active lanes of v[vs1]; imm bit 6: all lanes = r; else bit 5: lane imm[4:0] = r, rest +0.0; "
        "else lane imm[4:0] = r, rest v[vs1]; all 32 lanes of v[vd] are written"
    )
    return Instruction(mnemonic, opcode, Format.VI, operands, Unit.REDUCTION, Latency.REDUCTION, semantics)


def _compare(mnemonic: str, opcode: int, condition: str, *, scalar: bool) -> Instruction:
    vmd = _mreg(enc.VMD, _W)
    if scalar:
        operands, form, other = (vmd, _VS1, _xreg(enc.VS_RS1, _R), _MASK), Format.VMS, "x[rs1]"
    else:
        operands, form, other = (vmd, _VS1, _VS2, _MASK), Format.VMV, "v[vs2][i]"
    semantics = f"bit i of m[vmd] = v[vs1][i] {condition} {other} for active lanes; other bits keep"
    return Instruction(mnemonic, opcode, form, operands, Unit.LANE_ALU, Latency.ALU, semantics, merges=True)


def _dma(mnemonic: str, opcode: int, semantics: str) -> Instruction:
    operands = (_xreg(enc.SDMA_RS1, _RW), _xreg(enc.SDMA_RS2, _R), _xreg(enc.SDMA_RS3, _R))
    return Instruction(mnemonic, opcode, Format.SDMA, operands, Unit.SDMA, Latency.DMA, semantics)


_EX1, _EX2, _EX3, _EX4 = Unit.EX1, Unit.EX2, Unit.EX3, Unit.EX4
_L = Latency

INSTRUCTIONS: tuple[Instruction, ...] = (
    _r("add.s", 1, _EX1, _L.EX1, "x[rd] = x[rs1] + x[rs2]"),
    _r("sub.s", 2, _EX1, _L.EX1, "x[rd] = x[rs1] - x[rs2]"),
    _r("mul.s", 3, _EX4, _L.EX4, "x[rd] = low 32 bits of x[rs1] * x[rs2]"),
    _r("div.s", 4, _EX2, _L.EX2_DIVIDE, "x[rd] = x[rs1] / x[rs2] signed, toward zero; /0 = -1; INT_MIN/-1 = INT_MIN"),
    _r("mod.s", 5, _EX2, _L.EX2_DIVIDE, "x[rd] = x[rs1] rem x[rs2], sign of the dividend; rem 0 = dividend"),
    _r("or.s", 6, _EX1, _L.EX1, "x[rd] = x[rs1] | x[rs2]"),
    _r("and.s", 7, _EX1, _L.EX1, "x[rd] = x[rs1] & x[rs2]"),
    _r("xor.s", 8, _EX1, _L.EX1, "x[rd] = x[rs1] ^ x[rs2]"),
    _r("sll.s", 9, _EX1, _L.EX1, "x[rd] = x[rs1] << u32(x[rs2]); amounts >= 32 give 0"),
    _r("srl.s", 10, _EX1, _L.EX1, "x[rd] = x[rs1] >> u32(x[rs2]) logical; amounts >= 32 give 0"),
    _r("sra.s", 11, _EX1, _L.EX1, "x[rd] = x[rs1] >> u32(x[rs2]) arithmetic; amounts >= 31 give the sign"),
    _r("slt.s", 12, _EX1, _L.EX1, "x[rd] = 1 if x[rs1] < x[rs2] signed else 0"),
    _r("sltu.s", 13, _EX1, _L.EX1, "x[rd] = 1 if x[rs1] < x[rs2] unsigned else 0"),
    _r("bfts.s", 14, _EX2, _L.EX2_SHORT, "x[rd] = int(BF16 x[rs1]) to zero, saturating; NaN = 0x7FFFFFFF", unary=True),
    _r("add.bf", 15, _EX3, _L.EX3, "x[rd] = bf(x[rs1] + x[rs2])"),
    _r("sub.bf", 16, _EX3, _L.EX3, "x[rd] = bf(x[rs1] - x[rs2])"),
    _r("mul.bf", 17, _EX3, _L.EX3, "x[rd] = bf(x[rs1] * x[rs2])"),
    _r("rcp.bf", 18, _EX2, _L.EX2_ROOT, "x[rd] = bf(1 / x[rs1]); +-0 gives +-inf", unary=True),
    _r("slt.bf", 19, _EX3, _L.EX3, "x[rd] = 1 if x[rs1] < x[rs2] as BF16 else 0; unordered gives 0"),
    _r("sqrt.bf", 20, _EX2, _L.EX2_ROOT, "x[rd] = bf(sqrt(x[rs1])); negative gives NaN", unary=True),
    _r("stbf.s", 21, _EX2, _L.EX2_SHORT, "x[rd] = bf(signed integer x[rs1])", unary=True),
    _i("addi.s", 22, _EX1, _L.EX1, "x[rd] = x[rs1] + sx(imm)"),
    _i("subi.s", 23, _EX1, _L.EX1, "x[rd] = x[rs1] - sx(imm)"),
    _i("muli.s", 24, _EX4, _L.EX4, "x[rd] = low 32 bits of x[rs1] * sx(imm)"),
    _i("divi.s", 25, _EX2, _L.EX2_DIVIDE, "x[rd] = x[rs1] / sx(imm), as div.s"),
    _i("modi.s", 26, _EX2, _L.EX2_DIVIDE, "x[rd] = x[rs1] rem sx(imm), as mod.s"),
    _i("ori.s", 27, _EX1, _L.EX1, "x[rd] = x[rs1] | sx(imm)"),
    _i("andi.s", 28, _EX1, _L.EX1, "x[rd] = x[rs1] & sx(imm)"),
    _i("xori.s", 29, _EX1, _L.EX1, "x[rd] = x[rs1] ^ sx(imm)"),
    _i("slli.s", 30, _EX1, _L.EX1, "x[rd] = x[rs1] << (imm & 31)"),
    _i("srli.s", 31, _EX1, _L.EX1, "x[rd] = x[rs1] >> (imm & 31) logical"),
    _i("srai.s", 32, _EX1, _L.EX1, "x[rd] = x[rs1] >> (imm & 31) arithmetic"),
    _i("slti.s", 33, _EX1, _L.EX1, "x[rd] = 1 if x[rs1] < sx(imm) signed else 0"),
    _i("sltui.s", 34, _EX1, _L.EX1, "x[rd] = 1 if x[rs1] < u32(sx(imm)) unsigned else 0"),
    _branch("beq.s", 35, "=="),
    _branch("bne.s", 36, "!="),
    _branch("blt.s", 37, "<"),
    _branch("bge.s", 38, ">="),
    _branch("bgt.s", 39, ">"),
    _branch("ble.s", 40, "<="),
    _load("lw.s", 41, "x[rd] = M32[x[rs1] + sx(imm)]; 4-byte aligned"),
    _store("sw.s", 42, "M32[x[rs1] + sx(imm)] = x[rd]; 4-byte aligned"),
    _load("lhw.s", 43, "x[rd] = M16[x[rs1] + sx(imm)] << 16; 2-byte aligned"),
    _store("shw.s", 44, "M16[x[rs1] + sx(imm)] = x[rd] >> 16; 2-byte aligned"),
    Instruction("jal", 45, Format.MI, (_RD, _imm(enc.IMM25)), _EX1, _L.EX1, "x[rd] = PC + 20; PC += sx(imm), bytes"),
    Instruction(
        "jalr", 46, Format.I, (_RD, _RS1, _imm(enc.IMM12)), _EX1, _L.EX1, "t = x[rs1] + sx(imm); x[rd] = PC+20; PC = t"
    ),
    Instruction(
        "li.s", 47, Format.MI, (_RD, _imm(enc.IMM25)), Unit.NONE, _L.NONE, "pseudo: lui.s and addi.s", is_pseudo=True
    ),
    Instruction("lui.s", 48, Format.MI, (_RD, _imm(enc.IMM25U)), _EX1, _L.EX1, "x[rd] = imm << 7"),
    Instruction("nop.s", 49, Format.R, (), Unit.NONE, _L.NONE, "nothing"),
    Instruction("halt.s", 50, Format.R, (), Unit.NONE, _L.NONE, "stop after this packet"),
    _vv("add.vv", 51, Unit.LANE_ALU, _L.ALU, "v[vd][i] = bf(v[vs1][i] + v[vs2][i]) for active lanes"),
    _vv("sub.vv", 52, Unit.LANE_ALU, _L.ALU, "v[vd][i] = bf(v[vs1][i] - v[vs2][i]) for active lanes"),
    _vv("mul.vv", 53, Unit.LANE_MUL, _L.MUL, "v[vd][i] = bf(v[vs1][i] * v[vs2][i]) for active lanes"),
    Instruction(
        "gemm.vv",
        54,
        Format.VV,
        (_VD, _VS1, _vreg(enc.VS2, _N), _mreg(enc.MASK, _N)),
        Unit.GSAU,
        _L.GEMM,
        "v[vd][j] = bf(sum over k of v[vs1][k] * w_j[k]) for all 32 j",
    ),
    Instruction(
        "expi.vi",
        55,
        Format.VI,
        (_VD, _VS1, _imm(enc.IMM8), _MASK),
        Unit.LANE_EXP,
        _L.EXP,
        "v[vd][i] = bf(e^v[vs1][i]) for active lanes; imm ignored",
        merges=True,
    ),
    Instruction(
        "lw.vi",
        56,
        Format.VI,
        (_vreg(enc.VD, _N), _VS1, _imm(enc.IMM8), _mreg(enc.MASK, _P)),
        Unit.GSAU,
        _L.WEIGHT_PUSH,
        "w_j = w_(j-1) for j = 31..1, then w_0 = v[vs1]",
    ),
    _reduce("rsum.vi", 57, "sum (+0.0 for none)"),
    _reduce("rmin.vi", 58, "minimum (+inf for none)"),
    _reduce("rmax.vi", 59, "maximum (-inf for none)"),
    _compare("mgt.mvv", 60, ">", scalar=False),
    _compare("mlt.mvv", 61, "<", scalar=False),
    _compare("meq.mvv", 62, "==", scalar=False),
    _compare("mneq.mvv", 63, "!=", scalar=False),
    _compare("mgt.mvs", 64, ">", scalar=True),
    _compare("mlt.mvs", 65, "<", scalar=True),
    _compare("meq.mvs", 66, "==", scalar=True),
    _compare("mneq.mvs", 67, "!=", scalar=True),
    Instruction(
        "vreg.ld",
        68,
        Format.VM,
        (_VD, _RS1, _RS2, _imm(enc.NUM_COLS), _imm(enc.SID)),
        Unit.VLSU,
        _L.PAD_LOAD,
        "v[vd][0..num_cols] = row (x[rs1] >> 6) + x[rs2] of pad sid; lanes above num_cols = +0.0",
    ),
    Instruction(
        "vreg.st",
        69,
        Format.VM,
        (_vreg(enc.VD, _R), _RS1, _RS2, _imm(enc.NUM_COLS), _imm(enc.SID)),
        Unit.VLSU,
        _L.PAD_STORE,
        "row (x[rs1] >> 6) + x[rs2] of pad sid, lanes 0..num_cols = v[vd]; other lanes keep",
    ),
    _dma("scpad.ld", 70, "copy a tile DRAM at x[rs2] -> pad at x[rs1], shape x[rs3]; x[rs1] busy until done"),
    _dma("scpad.st", 71, "copy a tile pad at x[rs1] -> DRAM at x[rs2], shape x[rs3]; x[rs1] busy until done"),
    Instruction(
        "vmov.vts",
        72,
        Format.VTS,
        (_RD, _VS1, _imm(enc.LANE)),
        Unit.MTS,
        _L.MTS,
        "x[rd] = lane imm of v[vs1] in the upper half, low half 0",
    ),
    Instruction("mv.mts", 73, Format.MTS, (_RD, _mreg(enc.VMS, _R)), Unit.MTS, _L.MTS, "x[rd] = m[vms]"),
    Instruction("mv.stm", 74, Format.STM, (_mreg(enc.VMD, _W), _RS1), _EX2, _L.EX2_SHORT, "m[vmd] = x[rs1]"),
    _vs("add.vs", 75, Unit.LANE_ALU, _L.ALU, "v[vd][i] = bf(v[vs1][i] + x[rs1]) for active lanes"),
    _vs("sub.vs", 76, Unit.LANE_ALU, _L.ALU, "v[vd][i] = bf(v[vs1][i] - x[rs1]) for active lanes"),
    _vs("mul.vs", 77, Unit.LANE_MUL, _L.MUL, "v[vd][i] = bf(v[vs1][i] * x[rs1]) for active lanes"),
    Instruction(
        "tpop.vi",
        78,
        Format.VI,
        (_vreg(enc.VS1, _W),),
        Unit.TRANSPOSE,
        _L.TRANSPOSE_POP,
        "v[vs1] = next column of the transpose unit; the destination is the vs1 field",
    ),
    Instruction(
        "tpus.vi",
        79,
        Format.VI,
        (_VS1,),
        Unit.TRANSPOSE,
        _L.TRANSPOSE_PUSH,
        "push v[vs1] as the next row of the transpose unit",
    ),
)

BY_MNEMONIC = {instruction.mnemonic: instruction for instruction in INSTRUCTIONS}
BY_OPCODE = {instruction.opcode: instruction for instruction in INSTRUCTIONS}
BY_OP_NAME = {instruction.op_name: instruction for instruction in INSTRUCTIONS}
NOP = BY_MNEMONIC["nop.s"]
HALT = BY_MNEMONIC["halt.s"]

LANE_OPS_PER_PACKET = 2
# Instructions per packet of each unit; VLSU counts per pad, the lane units together obey LANE_OPS_PER_PACKET.
UNIT_LIMITS = {unit: 1 for unit in Unit if unit is not Unit.NONE and unit not in LANE_UNITS}


def hardware_instructions() -> Iterator[Instruction]:
    """The 78 instructions that have an encoding of their own (all but `li.s`)."""
    return (instruction for instruction in INSTRUCTIONS if not instruction.is_pseudo)
