"""Machine parameter sets (machine reference 6.6): every size, latency and bandwidth that the tools use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.isa import INSTRUCTIONS, Instruction, Latency


class ArrayInterlock(Enum):
    """What a `lw.vi` does that would shift weights under in-flight activations (5.5)."""

    STALL = "stall"
    ERROR = "error"
    IGNORE = "ignore"


class ReduceMode(Enum):
    """`rsum.vi` rounding: once at the end of a float32 tree, or to BF16 at each level (4.6)."""

    TREE32 = "tree32"
    TREE16 = "tree16"


_AT_LEAST_ONE = (
    "vector_lanes",
    "physical_lanes",
    "pads",
    "pad_rows",
    "page_rows",
    "pad_row_interval",
    "pad_queue",
    "icache_line_bytes",
    "icache_beat_bytes",
    "dcache_line_bytes",
    "dcache_ways",
    "dcache_mshrs",
    "dcache_targets_per_mshr",
    "lsu_queue",
    "reductions_in_flight",
    "transpose_queue",
    "dram_burst_bytes",
)
_POWERS_OF_TWO = ("vector_lanes", "icache_line_bytes", "icache_beat_bytes", "dcache_line_bytes", "dcache_ways")
# Widths of instruction fields and registers: a mask register has 32 bits, a pad number two, an address 32.
_LIMITS = {"vector_lanes": 32, "pads": 4, "dram_bytes": 1 << 32}


@dataclass(frozen=True)
class Machine:
    """One parameter set. Latencies are the reference's L (lane units) or cycles from EX to offer (others)."""

    name: str = "ax01"
    # sizes
    vector_lanes: int = 32
    """Elements of a vector register and of a pad row; also the side of the systolic array."""
    physical_lanes: int = 16
    pads: int = 4
    pad_rows: int = 8192
    page_rows: int = 32
    dram_bytes: int = 1 << 32
    # front end
    mispredict_penalty_cycles: int = 3
    btb_entries: int = 64
    icache_bytes: int = 8192
    """0 stands for instruction memory that never misses."""
    icache_line_bytes: int = 64
    icache_beat_bytes: int = 8
    # data cache
    dcache_bytes: int = 4096
    dcache_ways: int = 4
    dcache_line_bytes: int = 64
    dcache_mshrs: int = 8
    dcache_targets_per_mshr: int = 8
    dcache_hit_cycles: int = 4
    dcache_store_hit_cycles: int = 9
    dcache_miss_cycles: int = 28
    dcache_victim_cycles: int = 8
    lsu_queue: int = 4
    # scalar units: cycles after EX in which the result is offered, and initiation intervals
    ex1_latency: int = 0
    ex1_interval: int = 1
    ex2_short_latency: int = 1
    ex2_short_interval: int = 3
    ex2_root_latency: int = 11
    ex2_root_interval: int = 13
    ex2_divide_latency: int = 66
    ex2_divide_interval: int = 68
    ex3_latency: int = 1
    ex3_interval: int = 3
    ex4_latency: int = 2
    ex4_interval: int = 4
    mts_latency: int = 0
    # lanes
    alu_latency: int = 2
    mul_latency: int = 2
    exp_latency: int = 14
    lanes_pipelined: bool = True
    mul_shares_alu: bool = False
    reduction_latency: int = 18
    reductions_in_flight: int = 4
    reduce: ReduceMode = ReduceMode.TREE32
    # array
    gemm_latency: int = 46
    gsau_credits: int = 0
    """Rows in flight in the array; 0 is unlimited."""
    array_interlock: ArrayInterlock = ArrayInterlock.STALL
    array_drain_cycles: int = 32
    # pads
    pad_read_latency: int = 7
    pad_write_latency: int = 2
    pad_row_interval: int = 3
    pad_queue: int = 32
    # transpose unit
    transpose_push_interval: int = 9
    transpose_pop_interval: int = 8
    transpose_queue: int = 2
    # DRAM
    dram_burst_bytes: int = 32
    dram_bursts_per_cycle: float = 1.0
    """Sustained launches per cycle, all masters together."""
    dram_latency_cycles: int = 6
    sdma_row_serial: bool = True
    sdma_startup_cycles: int = 2
    clock_hz: int = 800_000_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 0:
                raise BadInputError(f"machine {self.name}: {field.name} must not be negative, got {value}")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise BadInputError(f"machine {self.name}: {name} must be at least 1, got {getattr(self, name)}")
        for name in _POWERS_OF_TWO:
            value = getattr(self, name)
            if value & (value - 1):
                raise BadInputError(f"machine {self.name}: {name} must be a power of two, got {value}")
        for name, limit in _LIMITS.items():
            if getattr(self, name) > limit:
                raise BadInputError(f"machine {self.name}: {name} must be at most {limit}, got {getattr(self, name)}")
        if self.dcache_bytes < self.dcache_line_bytes * self.dcache_ways:
            raise BadInputError(
                f"machine {self.name}: dcache_bytes must hold {self.dcache_ways} lines of "
                f"{self.dcache_line_bytes} bytes, got {self.dcache_bytes}"
            )
        if not self.dram_bursts_per_cycle > 0:
            raise BadInputError(
                f"machine {self.name}: dram_bursts_per_cycle must be more than 0, got {self.dram_bursts_per_cycle}"
            )

    @property
    def lane_interval_cycles(self) -> int:
        """Cycles that a lane unit needs to take in one vector: vector_lanes / physical_lanes."""
        return -(-self.vector_lanes // self.physical_lanes)

    @property
    def row_bytes(self) -> int:
        return 2 * self.vector_lanes

    @property
    def page_bytes(self) -> int:
        return self.row_bytes * self.page_rows

    @property
    def pages_per_pad(self) -> int:
        return self.pad_rows // self.page_rows

    def latency(self, latency: Latency) -> int:
        """Cycles from EX (= issue + 1) to the cycle that offers the result; dependents issue at offer + 2 (6.1)."""
        return self._latencies[latency]

    def distance(self, instruction: Instruction) -> int:
        """Cycles from the issue of `instruction` to the earliest issue of a consumer, no contention (D of 6.1)."""
        return self._distances[instruction.mnemonic]

    def interval(self, instruction: Instruction) -> int:
        """Initiation interval of the unit after `instruction`, in cycles (II of 6.1)."""
        return self._intervals_by_mnemonic[instruction.mnemonic]

    @cached_property
    def _distances(self) -> dict[str, int]:
        return {op.mnemonic: self._latencies[op.latency] + 3 for op in INSTRUCTIONS}

    @cached_property
    def _intervals_by_mnemonic(self) -> dict[str, int]:
        return {op.mnemonic: self._intervals.get(op.latency, 1) for op in INSTRUCTIONS}

    @cached_property
    def _latencies(self) -> dict[Latency, int]:
        return {
            Latency.NONE: 0,
            Latency.EX1: self.ex1_latency,
            Latency.EX2_SHORT: self.ex2_short_latency,
            Latency.EX2_ROOT: self.ex2_root_latency,
            Latency.EX2_DIVIDE: self.ex2_divide_latency,
            Latency.EX3: self.ex3_latency,
            Latency.EX4: self.ex4_latency,
            Latency.LOAD: self.dcache_hit_cycles,
            Latency.STORE: 0,
            Latency.ALU: self.alu_latency + self.lane_interval_cycles - 1,
            Latency.MUL: self.mul_latency + self.lane_interval_cycles - 1,
            Latency.EXP: self.exp_latency + self.lane_interval_cycles - 1,
            Latency.REDUCTION: self.reduction_latency,
            Latency.GEMM: self.gemm_latency,
            Latency.WEIGHT_PUSH: 0,
            Latency.MTS: self.mts_latency,
            Latency.PAD_LOAD: self.pad_read_latency,
            Latency.PAD_STORE: 0,
            Latency.TRANSPOSE_PUSH: 0,
            Latency.TRANSPOSE_POP: self.transpose_push_interval,
            Latency.DMA: 0,
        }

    @cached_property
    def _intervals(self) -> dict[Latency, int]:
        """Of the latency classes whose unit is busy for other than one cycle."""
        lane = self.lane_interval_cycles
        return {
            Latency.EX1: self.ex1_interval,
            Latency.EX2_SHORT: self.ex2_short_interval,
            Latency.EX2_ROOT: self.ex2_root_interval,
            Latency.EX2_DIVIDE: self.ex2_divide_interval,
            Latency.EX3: self.ex3_interval,
            Latency.EX4: self.ex4_interval,
            Latency.ALU: lane if self.lanes_pipelined else lane + self.alu_latency - 1,
            Latency.MUL: lane if self.lanes_pipelined else lane + self.mul_latency - 1,
            Latency.EXP: lane if self.lanes_pipelined else lane + self.exp_latency - 1,
            Latency.REDUCTION: lane,
            Latency.PAD_LOAD: self.pad_row_interval,
            Latency.PAD_STORE: self.pad_row_interval,
            Latency.TRANSPOSE_PUSH: self.transpose_push_interval,
            Latency.TRANSPOSE_POP: self.transpose_pop_interval,
        }

    def digest(self) -> str:
        """SHA-256 over all fields, hexadecimal; identifies the parameter set in loadables and caches."""
        fields = {
            key: value.value if isinstance(value, Enum) else value for key, value in dataclasses.asdict(self).items()
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def with_options(self, **options: object) -> Machine:
        """A copy with some fields changed and, unless given, a name that says so."""
        unknown = sorted(set(options) - {field.name for field in dataclasses.fields(self)})
        if unknown:
            raise BadInputError(f"machine {self.name} has no parameter {', '.join(unknown)}")
        if options and "name" not in options:
            changes = ",".join(
                f"{key}={value.value if isinstance(value, Enum) else value}" for key, value in sorted(options.items())
            )
            options["name"] = f"{self.name}+{changes}"
        return dataclasses.replace(self, **options)  # pyright: ignore[reportArgumentType]


AX01 = Machine()
_SETS = (
    AX01,
    dataclasses.replace(
        AX01, name="ax01-ddr4", dram_latency_cycles=48, dram_bursts_per_cycle=30 / 32, sdma_row_serial=False
    ),
    dataclasses.replace(AX01, name="ax01-hbm3", dram_latency_cycles=48, sdma_row_serial=False),
    dataclasses.replace(AX01, name="ax01-slow", dram_latency_cycles=48),
    dataclasses.replace(
        AX01,
        name="as-compat",
        alu_latency=1,
        mul_latency=1,
        mul_shares_alu=True,
        lanes_pipelined=False,
        reduction_latency=31,
    ),
    dataclasses.replace(
        AX01,
        name="fs-static",
        physical_lanes=32,
        alu_latency=1,
        mul_latency=3,
        exp_latency=8,
        reduction_latency=4,
        gemm_latency=16,
        pad_read_latency=3,
        pad_write_latency=1,
        sdma_startup_cycles=520,
        dram_latency_cycles=0,
        dcache_hit_cycles=4,
    ),
)
MACHINES = {machine.name: machine for machine in _SETS}


def machine(name: str) -> Machine:
    """The parameter set called `name`; BadInputError lists the names when there is none."""
    try:
        return MACHINES[name]
    except KeyError:
        raise BadInputError(f"no machine parameter set '{name}'; there are {', '.join(MACHINES)}") from None
