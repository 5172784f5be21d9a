"""Placing a loop body at an initiation interval by the native core, where there is one, else in Python.

The result is the same. What the core is told about a loop does not depend on the interval, so it is put together once.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable
from functools import cached_property

from atalla_mlir.codegen.compact_placement import CompactPlacement, compact_order
from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.forward_placement import (
    ARRAY_TURN_CYCLES,
    CHANNEL_SLACK,
    COMPANY_DISTANCE,
    MAX_CHANNEL_WAIT,
    MAX_OPEN_MASKS,
    ForwardPlacement,
)
from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.loop_placement import (
    ATTEMPTS_PER_NODE,
    PATIENCE,
    SINK_SWEEPS,
    OrderChoice,
    Placement,
    copies_read,
    is_scalar,
    may_sink,
    placement_order,
)
from atalla_mlir.codegen.loop_roles import (
    feeders_in_order,
    find_feeders,
    forward_parts,
    is_load,
    is_settled,
    loading_share,
    needed_times,
    push_runs,
    transfer_feeders,
    transfers_by_pad,
)
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.native_library import (
    ForwardWay,
    Loop,
    OrderedWay,
    RepairWay,
    library,
    place_of,
    starts_and_items,
)
from atalla_mlir.codegen.repair_placement import ATTEMPTS_PER_NODE as REPAIRS_PER_NODE
from atalla_mlir.codegen.repair_placement import MARGIN, RepairPlacement, repair_order, windows, with_one_copy
from atalla_mlir.codegen.reservations import (
    BANK_BITS,
    CROWDED,
    MAX_QUEUED_CYCLES,
    VECTOR_BANKS,
    LoopDemands,
    block_phase,
)
from atalla_mlir.codegen.resources import EMPTY_PACKET, OVER
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import Format, Unit
from atalla_mlir.target.registers import RegisterFile

_UNIT_SHIFT = 32
"""Where the bits of units begin in the core's words of 64 bits."""


class LoopCore:
    """A loop body that may be placed several times."""

    def __init__(self, graph: LoopGraph, demands: LoopDemands) -> None:
        self._graph, self._demands = graph, demands

    def place(self, interval: int, choice: OrderChoice | None = None) -> Found | None:
        """Each node next to what it depends on, see `loop_placement`."""
        native = library()
        if native is None:
            return _found(Placement(self._graph, self._demands, interval, choice), interval)
        order = placement_order(self._graph, interval, choice or OrderChoice())
        if order is None:
            return None
        way = OrderedWay()
        way.point(order=order, may_sink=self._may_sink)
        return self._run(native.atalla_place_in_order, self._loop, way, interval)

    def place_by_repair(self, interval: int, choice: OrderChoice, num_stages: int) -> Found | None:
        """Between what is there, in at most `num_stages` stages and with one copy of each value, see
        `repair_placement`."""
        order, graph = repair_order(self._graph, interval, choice), self._with_one_copy._graph
        allowed = windows(graph, interval, num_stages)
        if order is None or allowed is None:
            return None
        native = library()
        if native is None:
            placement = RepairPlacement(graph, self._demands, interval, order, allowed, is_late=choice.is_late)
            return _found(placement, interval)
        way = RepairWay(attempts_per_node=REPAIRS_PER_NODE, margin=MARGIN, is_late=choice.is_late)
        way.point(order=order, lows=allowed.lows, highs=allowed.highs)
        return self._run(native.atalla_place_by_repair, self._with_one_copy._loop, way, interval)

    @cached_property
    def _with_one_copy(self) -> LoopCore:
        return LoopCore(with_one_copy(self._graph), self._demands)

    def place_compactly(self, interval: int, slack: int) -> Found | None:
        """Chain by chain, see `compact_placement`."""
        native = library()
        if native is None:
            return _found(CompactPlacement(self._graph, self._demands, interval, slack), interval)
        found = compact_order(self._graph, slack)
        way = OrderedWay()
        way.point(
            order=found.order,
            is_late=(node in found.late for node in range(self._graph.num_nodes)),
            may_sink=(index not in found.steps and may_sink(inst) for index, inst in enumerate(self._graph.insts)),
        )
        return self._run(native.atalla_place_in_order, self._loop, way, interval)

    def place_forwards(self, interval: int, turn: int, *, is_eager: bool) -> Found | None:
        """Cycle by cycle, for a body that moves data; see `forward_placement`."""
        native = library()
        if native is None:
            placement = ForwardPlacement(self._graph, self._demands, interval, turn, is_eager=is_eager)
            return _found(placement, interval)
        pads, parts = transfers_by_pad(self._graph, turn), self._parts[turn % 2]
        share = loading_share(turn, is_eager=is_eager)
        way = ForwardWay(is_eager=is_eager, num_pads=len(pads), num_parts=len(parts), share=share)
        transfer_starts, transfers = starts_and_items(pads)
        part_starts, nodes = starts_and_items(parts)
        way.point(transfer_starts=transfer_starts, transfers=transfers, part_starts=part_starts, parts=nodes)
        return self._run(native.atalla_place_forwards, self._moving_loop, way, interval)

    @cached_property
    def _may_sink(self) -> array[int]:
        return array("i", map(may_sink, self._graph.insts))

    @cached_property
    def _parts(self) -> list[list[list[int]]]:
        """What is placed forwards, in even and in odd turns."""
        return [forward_parts(self._graph, turn) for turn in range(2)]

    def _run(
        self, place: ctypes._NamedFuncPointer, loop: Loop, way: OrderedWay | RepairWay | ForwardWay, interval: int
    ) -> Found | None:
        cycles, banks = (array("i", bytes(4 * size)) for size in (loop.num_insts, loop.num_values))
        status = place(ctypes.byref(loop), ctypes.byref(way), interval, place_of(cycles), place_of(banks))
        if status < 0:
            raise InternalError(f"loop instruction '{self._graph.insts[-1 - status]}' lost its place")
        if not status:
            return None
        chosen = zip(self._values, banks, strict=True)
        return Found(interval, tuple(cycles), {register: bank for register, bank in chosen if bank >= 0})

    @cached_property
    def _values(self) -> dict[Register, int]:
        """Numbers of the registers whose banks are chosen with the schedule."""
        reads = dict.fromkeys(register for reads in self._demands.open_reads for register in reads)
        return {register: number for number, register in enumerate(reads)}

    @cached_property
    def _moving_loop(self) -> Loop:
        """With what placing forwards wants to know."""
        self._add_roles(self._loop)
        return self._loop

    @cached_property
    def _loop(self) -> Loop:
        graph, demands, machine = self._graph, self._demands, self._demands.machine
        drained = [demands.drainers.get(index) for index in range(len(graph.insts))]
        names = {name: number for number, name in enumerate(dict.fromkeys(demands.names))}
        for drain in drained:
            if drain is not None:
                names.setdefault(drain[0], len(names))
        loop = Loop(
            num_insts=len(graph.insts),
            num_nodes=graph.num_nodes,
            num_names=len(names),
            num_values=len(self._values),
            num_vector_banks=len(VECTOR_BANKS),
            is_ahead=graph.is_ahead,
            longest_latency=graph.longest_latency,
            pad_row_interval=machine.pad_row_interval,
            sdma_startup_cycles=machine.sdma_startup_cycles,
            reductions_in_flight=machine.reductions_in_flight,
            max_queued_cycles=MAX_QUEUED_CYCLES,
            attempts_per_node=ATTEMPTS_PER_NODE,
            patience=PATIENCE,
            sink_sweeps=SINK_SWEEPS,
            company_distance=COMPANY_DISTANCE,
            array_turn_cycles=ARRAY_TURN_CYCLES,
            max_open_masks=MAX_OPEN_MASKS,
            branch_bits=_narrow(demands.branch_bits),
            first_vector_bank=VECTOR_BANKS[0],
            branch_counts=demands.branch_counts,
            empty_packet=EMPTY_PACKET,
            over=OVER,
            crowded=CROWDED,
            max_channel_wait=MAX_CHANNEL_WAIT,
            channel_slack=CHANNEL_SLACK,
        )
        loop.point(
            names=map(names.__getitem__, demands.names),
            lengths=demands.lengths,
            flights=demands.flights,
            is_vlsu=(unit is Unit.VLSU for unit in demands.units),
            is_reduction=(unit is Unit.REDUCTION for unit in demands.units),
            is_transfer=(unit is Unit.SDMA for unit in demands.units),
            drained_names=(-1 if drain is None else names[drain[0]] for drain in drained),
            drained_rows=(0 if drain is None else drain[1] for drain in drained),
            bits=map(_narrow, demands.bits),
            counts=demands.counts,
            may_sink=self._may_sink,
            phases=map(block_phase, names),
        )
        self._add_edges(loop)
        self._add_banks(loop)
        self._add_scalars(loop)
        return loop

    def _add_edges(self, loop: Loop) -> None:
        for side, lists in (("before", self._graph.before), ("after", self._graph.after)):
            edges = [edge for edges in lists for edge in edges]
            nodes, latencies, distances, results = zip(*edges, strict=True) if edges else ((), (), (), ())
            columns = {"nodes": nodes, "latencies": latencies, "distances": distances, "results": results}
            loop.point(
                **{f"{side}_starts": _starts(lists)}, **{f"{side}_{name}": column for name, column in columns.items()}
            )

    def _add_banks(self, loop: Loop) -> None:
        demands, values = self._demands, self._values
        open_starts, open_reads = starts_and_items(
            [list(map(values.__getitem__, reads)) for reads in demands.open_reads]
        )
        with_starts, read_with = starts_and_items(
            [[values[other] for other in demands.read_with[register]] for register in values]
        )
        loop.point(
            open_starts=open_starts,
            open_reads=open_reads,
            with_starts=with_starts,
            read_with=read_with,
            fixed_with=[demands.fixed_with[register] for register in values],
        )

    def _add_scalars(self, loop: Loop) -> None:
        graph = self._graph
        scalars = [is_scalar(inst) for inst in graph.insts]
        read = [copies_read(graph, index) if found else [] for index, found in enumerate(scalars)]
        starts, nodes = starts_and_items([[node for node, _ in copies] for copies in read])
        distances = (distance for copies in read for _, distance in copies)
        loop.point(is_scalar=scalars, shorten_starts=starts, shorten_nodes=nodes, shorten_distances=distances)

    def _add_roles(self, loop: Loop) -> None:
        """What a body that moves data has its nodes for."""
        graph, insts, kinds = self._graph, self._graph.insts, self._demands.kinds
        feeders = find_feeders(graph)
        early = transfer_feeders(graph, feeders)
        needed = needed_times(graph, [index for index in range(graph.num_nodes) if index not in feeders])
        runs = push_runs(graph)
        run_starts, run_makers = starts_and_items(list(runs.values()))
        numbers = {first: number for number, first in enumerate(runs)}
        is_transfer = [inst.op.format is Format.SDMA for inst in insts]
        in_order = {
            "early_feeders": feeders_in_order(graph, early),
            "late_feeders": feeders_in_order(graph, feeders - early),
        }
        loop.num_runs = len(runs)
        loop.num_early_feeders, loop.num_late_feeders = (len(found) for found in in_order.values())
        loop.point(
            **in_order,
            kinds=[*kinds, *range(len(insts), graph.num_nodes)],
            is_feeder=(index in feeders for index in range(graph.num_nodes)),
            needed=(needed.get(index, 0) for index in range(graph.num_nodes)),
            num_readers=(sum(edge.is_result for edge in edges) for edges in graph.outgoing),
            is_load=(is_load(graph, index) for index in range(len(insts))),
            makes_mask=(any(register.file is RegisterFile.MASK for register in inst.defs) for inst in insts),
            run_numbers=(numbers.get(index, -1) for index in range(len(insts))),
            run_starts=run_starts,
            run_makers=run_makers,
            transfer_lengths=(
                dma_cycles(inst, self._demands.machine) if found else 0
                for inst, found in zip(insts, is_transfer, strict=True)
            ),
            is_waited=(found and is_settled(graph, index) for index, found in enumerate(is_transfer)),
        )


def _found(placement: Placement, interval: int) -> Found | None:
    cycles = placement.run()
    return None if cycles is None else Found(interval, tuple(cycles), placement.banks())


def _starts(lists: Iterable[list[tuple[int, int, int, bool]]]) -> array[int]:
    starts = array("i", (0,))
    for edges in lists:
        starts.append(starts[-1] + len(edges))
    return starts


def _narrow(bits: int) -> int:
    """Bits of banks and units in 64 bits."""
    banks, units = bits & (1 << BANK_BITS) - 1, bits >> BANK_BITS
    assert banks < 1 << _UNIT_SHIFT, banks
    return banks | units << _UNIT_SHIFT
