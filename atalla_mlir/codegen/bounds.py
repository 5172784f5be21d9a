"""Certificates: what no kernel for an operation can go below, whatever code is emitted for it.

A bound is counted on the operation alone: its stages (`codegen.iteration`), their extents and the machine. For each
resource there is a number of cycles in which it must be busy; the largest is the bound of the kernel, and the sums over
kernels are a bound of the program, however its kernels overlap. Nothing here knows of tiles, registers or schedules.

Assumed is what `docs/metrics.md` lists: products are formed in the array, 32 terms of a sum at a time, and slices of a
sum are added on the lanes; operations on elements run on the lanes, each value is computed once, by the fewest lane
operations known; operands come from DRAM once and results go there once.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from atalla_mlir.codegen.hidden_work import ALL, HiddenWork, VisibleShare, hidden_work
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.lane_functions import FUNCTION_COSTS
from atalla_mlir.target.machine import Machine


@dataclass(frozen=True)
class Bounds:
    """Cycles in which each resource must be busy, by resource; resources without work are left out."""

    cycles: Mapping[str, int]
    compulsory_bytes: int
    """DRAM bytes that must move: each needed element of an input once, each element of an output once."""
    input_bytes: tuple[int, ...] = ()
    """Needed bytes of each input, be it in DRAM or in the pads; one that is given twice is counted the first time."""

    @property
    def bound_cycles(self) -> int:
        """The lower limit of the kernel."""
        return max(self.cycles.values(), default=0)

    @property
    def bound_by(self) -> str:
        """The resource that it comes from; the first of equal ones."""
        return max(self.cycles, key=lambda resource: self.cycles[resource], default="nothing")


@dataclass(frozen=True)
class LaneOps:
    """Lane operations on single elements; `either` run on the ALU or on the multiplier."""

    alu: Fraction = Fraction(0)
    mul: Fraction = Fraction(0)
    exp: Fraction = Fraction(0)
    either: Fraction = Fraction(0)

    def __add__(self, other: LaneOps) -> LaneOps:
        return LaneOps(self.alu + other.alu, self.mul + other.mul, self.exp + other.exp, self.either + other.either)

    def times(self, count: int | Fraction) -> LaneOps:
        return LaneOps(self.alu * count, self.mul * count, self.exp * count, self.either * count)


MAX_FOLDED_LOOPS = 4
"""Loops of a fold whose orders are all tried."""
_FREE = LaneOps()
_ALU = LaneOps(alu=Fraction(1))
_MUL = LaneOps(mul=Fraction(1))
_EXP = LaneOps(exp=Fraction(1))
_EITHER = LaneOps(either=Fraction(1))
# A reciprocal or root on the lanes is a seed (2) and two Newton steps (3 each); the one per 13 cycles that the scalar
# unit can take off the lanes in the meantime is less than one operation of the eight.
_ROOT = LaneOps(either=Fraction(7))

_NODE_OPS: dict[str, LaneOps] = {
    "load": _FREE,
    "constant": _FREE,
    "add": _ALU,
    "sub": _ALU,
    "mul": _MUL,
    "exp": _EXP,
    "abs": _ALU + _EITHER,  # compare, change the sign under the mask
    "max": _ALU + _EITHER,  # compare, copy under the mask
    "min": _ALU + _EITHER,
    "sqrt": _ROOT,
    "rsqrt": _ROOT,
    **{
        name: LaneOps(either=Fraction(cost.others), exp=Fraction(cost.exponentials))
        for name, cost in FUNCTION_COSTS.items()
    },
}


def kernel_bounds(
    stages: Sequence[Stage],
    inputs: Iterable[Buffer],
    outputs: Iterable[Buffer],
    machine: Machine,
    in_pads: Collection[Buffer] = (),
) -> Bounds:
    """Bounds of a kernel that computes `stages`, given in program order; what is `in_pads` needs no DRAM."""
    needed = _needed_shares(stages, set(outputs))
    hidden = hidden_work(stages, set(outputs), machine.vector_lanes)
    lanes, array = _FREE, Fraction(0)
    for stage in stages:
        share, visible = needed[stage], hidden.share(stage)
        lanes += _lane_ops(stage, machine, visible).times(share)
        if stage.kind is StageKind.PRODUCT:
            rows = array_rows(stage, machine.vector_lanes)
            # a row that is not full is no more than a part of one where some results do not count
            array += (rows if visible is ALL else (rows - 1) * visible.slices) * share
    inputs = list(inputs)
    read = _bytes_read(stages, set(inputs), needed, hidden)
    moved = sum(size for buffer, size in read.items() if buffer not in in_pads)
    moved += _bytes_written(stages, set(outputs) - set(in_pads))
    cycles = {
        "dram": moved / dram_bytes_per_cycle(machine),
        "array": array,
        **_lane_cycles(lanes, machine),
    }
    input_bytes = tuple(read.pop(buffer, 0) for buffer in inputs)
    return Bounds({resource: math.ceil(count) for resource, count in cycles.items() if count}, moved, input_bytes)


# DRAM


def dram_bytes_per_cycle(machine: Machine) -> Fraction:
    return machine.dram_burst_bytes * Fraction(machine.dram_bursts_per_cycle).limit_denominator(1024)


def _bytes_read(
    stages: Sequence[Stage], inputs: set[Buffer], needed: Mapping[Stage, Fraction], hidden: HiddenWork
) -> dict[Buffer, int]:
    """Bytes of the inputs that are read: of several accesses to a buffer, those of the largest."""
    largest: dict[Buffer, Fraction] = {}
    for stage in stages:
        for read in stage.reads:
            if read.buffer in inputs:
                count = num_elements(read) * needed[stage] * hidden.read_share(stage, read)
                if read.indirect:  # all indices may say the same
                    count = min(count, Fraction(read.buffer.num_elements))
                largest[read.buffer] = max(largest.get(read.buffer, Fraction(0)), count)
    return {buffer: buffer.element_bytes * math.ceil(count) for buffer, count in largest.items()}


def _bytes_written(stages: Sequence[Stage], outputs: set[Buffer]) -> int:
    """What is stored of the outputs: all of them, but for those of which a part is changed where they are."""
    stored: Counter[Buffer] = Counter()
    for stage in stages:
        if stage.kind is not StageKind.CALL:
            stored[stage.write.buffer] += math.ceil(num_elements(stage.write))
    return sum(
        min(stored.get(buffer, buffer.num_elements), buffer.num_elements) * buffer.element_bytes for buffer in outputs
    )


def num_elements(access: Access) -> int:
    """Distinct elements that an access touches; fewer where its loops overlap in a way that is not understood.

    Loops that reach into each other are one dimension, in which windows that move over a run without gaps are counted.
    """
    total, count, span, unit = 1, 1, 0, 0
    for size, extent in sorted((abs(access.stride(loop)), loop.extent) for loop in _loops_of(access)):
        if size > span:  # nothing inside reaches the next iteration
            total, count, unit = total * count, extent, size
        elif size % unit == 0 and size // unit <= count:
            count += size // unit * (extent - 1)
        span += size * (extent - 1)
    return total * count


# Which part of an intermediate value is looked at


def _needed_shares(stages: Sequence[Stage], outputs: set[Buffer]) -> dict[Stage, Fraction]:
    """For each stage the least part of its results that anything depends on, 0 to 1."""
    shares: dict[Stage, Fraction] = {}
    wanted: dict[Buffer, Fraction] = {}
    for stage in reversed(stages):
        written = num_elements(stage.write)
        share = Fraction(1)
        if stage.write.buffer not in outputs:
            share = min(share, wanted.get(stage.write.buffer, Fraction(0)) / written)
        shares[stage] = share
        for read in stage.reads:
            count = num_elements(read) * share
            wanted[read.buffer] = max(wanted.get(read.buffer, Fraction(0)), count)
    return shares


# The array


def array_rows(stage: Stage, lanes: int) -> int:
    """Rows that a product must stream through an array of `lanes` x `lanes`.

    A row makes `lanes` sums of at most `lanes` terms of one result each, and each of its elements meets as many
    elements of the other operand as there are results that share it.
    """
    results, terms = _results_and_terms(stage)
    left, right = stage.reads
    kept = [loop for loop in stage.loops if loop not in stage.reduced]
    only_left = math.prod(loop.extent for loop in kept if not right.stride(loop))
    only_right = math.prod(loop.extent for loop in kept if not left.stride(loop))
    shared = min(lanes, max(only_left, only_right))
    return max(-(-results * -(-terms // lanes) // lanes), -(-results * terms // (lanes * shared)))


def _results_and_terms(stage: Stage) -> tuple[int, int]:
    """How many results a reducing stage has, and how many terms each."""
    results = math.prod(loop.extent for loop in stage.loops if loop not in stage.reduced)
    return results, math.prod(loop.extent for loop in stage.reduced)


# The lanes


def _lane_cycles(ops: LaneOps, machine: Machine) -> dict[str, Fraction]:
    """Cycles of the lane units, operations that have a choice split between ALU and multiplier at their best."""
    per_element = Fraction(machine.lane_interval_cycles, machine.vector_lanes)
    if machine.mul_shares_alu:
        alu, mul = ops.alu + ops.mul + ops.either, Fraction(0)
    else:
        alu = max(ops.alu, min(ops.alu + ops.either, (ops.alu + ops.mul + ops.either) / 2))
        mul = ops.alu + ops.mul + ops.either - alu
    return {"lane_alu": alu * per_element, "lane_mul": mul * per_element, "lane_exp": ops.exp * per_element}


def _lane_ops(stage: Stage, machine: Machine, visible: VisibleShare) -> LaneOps:
    """Of the values of a stage that count: its body, what folds its terms. Integers are not computed on the lanes."""
    if stage.is_scalar:
        return _FREE
    body = _FREE if stage.kind is StageKind.PRODUCT else _body_ops(stage).times(visible.elements)
    if stage.kind is StageKind.MAP:
        return body
    return body + _fold_ops(stage, machine.vector_lanes).times(visible.folds)


def _fold_ops(stage: Stage, lanes: int) -> LaneOps:
    """Sums: the array adds `lanes` terms, the lanes the slices. Maxima: an operation on `lanes` elements (a compare, or
    a fold of one row) takes `lanes` candidates out at most."""
    results, terms = _results_and_terms(stage)
    if stage.combine is Combine.ADD:
        return _ALU.times(results * (-(-terms // lanes) - 1))
    return _ALU.times(min(results * (terms - 1), _fewest_folds(stage)))


def _fewest_folds(stage: Stage) -> int:
    """Folds when windows that overlap share them: one loop after the other, all positions of the others once."""
    if len(stage.reads) != 1 or not 1 < len(stage.reduced) <= MAX_FOLDED_LOOPS:
        return math.prod(loop.extent for loop in stage.loops)
    read = stage.reads[0]
    fewest: list[int] = []
    for order in itertools.permutations(stage.reduced):
        left, folds = dict(read.strides), 0
        for loop in order:
            left.pop(loop, None)
            folds += num_elements(Access(read.buffer, 0, dict(left))) * (loop.extent - 1)
        fewest.append(folds)
    return min(fewest)


def _body_ops(stage: Stage) -> LaneOps:
    total = _FREE
    for node in stage.body.walk():
        values = _num_values(node, stage)
        if values:
            total += _node_ops(node, stage).times(values)
        if node.op == "div":
            total += _ROOT.times(_num_values(node.args[1], stage))
    return total


def _node_ops(node: Node, stage: Stage) -> LaneOps:
    """Fewest operations known for one element; the reciprocals of a division are counted with its divisor."""
    if node.op.startswith("cmp_"):
        return _ALU
    if node.op == "select":
        compare = _FREE if node.args[0].op.startswith("cmp_") else _ALU
        computed = any(_is_computed(argument) for argument in node.args[1:])
        return compare if computed else compare + _EITHER  # a value that is computed can be computed under the mask
    if node.op == "neg":
        return _EITHER if node is stage.body else _FREE  # subtraction takes the place of addition
    if node.op == "mul":
        constants = [argument.value for argument in node.args if argument.op == "constant"]
        if any(abs(value) == 1.0 for value in constants):
            return _FREE
        return _EITHER if 2.0 in constants else _MUL
    if node.op == "div":
        is_reciprocal = node.args[0].op == "constant" and node.args[0].value == 1.0
        return _FREE if is_reciprocal else _MUL
    return _NODE_OPS.get(node.op, _EITHER)


def _is_computed(node: Node) -> bool:
    return node.op not in ("load", "constant")


def _num_values(node: Node, stage: Stage) -> int:
    """Different values that a node takes: one for each combination of the loops that it depends on."""
    reads = [stage.reads[below.read] for below in node.walk() if below.op == "load"]
    if not reads:
        return 0
    loops = {loop for read in reads for loop in _loops_of(read)}
    if all(_is_injective(read) for read in reads):
        return math.prod(loop.extent for loop in loops)
    return max(num_elements(read) for read in reads)


def _loops_of(access: Access) -> list[Loop]:
    return [loop for loop, stride in access.strides.items() if stride and loop.extent > 1]


def _is_injective(access: Access) -> bool:
    return num_elements(access) == math.prod(loop.extent for loop in _loops_of(access))
