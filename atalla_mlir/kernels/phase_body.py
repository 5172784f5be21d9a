"""One phase of an iteration of a loop over steps (`kernels.phased_rows`): what is computed on the chunks of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Stage
from atalla_mlir.codegen.phase_plan import Phase
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import LANES
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.folds import PairwiseFold, combined
from atalla_mlir.kernels.image_rows import ImageRows
from atalla_mlir.kernels.rings import ROW_BYTES, Counter, Part, Ring, access_key, part_of, tile_name
from atalla_mlir.kernels.row_totals import IDENTITY

if TYPE_CHECKING:
    from atalla_mlir.kernels.phased_rows import PhasedRows

Key = tuple[Buffer, int, int]
"""A chunk of a buffer: its row in the step and its number in the row."""


class PhaseBody:
    """One phase of an iteration, on the rows of a `side`."""

    def __init__(self, kernel: PhasedRows, at: int, phase: Phase, side: int = 0) -> None:
        self.kernel = kernel
        self.builder = kernel.builder
        self.plan = kernel.plan
        self.at, self.phase, self.side = at, phase, side
        self.step = -at * kernel.plan.lag
        """The step is n + this."""
        self.values: dict[Key, Evaluated] = {}
        self.row_values: dict[tuple[Buffer, int], Evaluated] = {}
        self.loaded: dict[object, Evaluated] = {}
        self.tiles: dict[object, ir.Value] = {}

    def emit(self) -> Iterator[bool]:
        """Emit the phase, and yield True after each chunk."""
        for stage in self.kernel.stages:
            if stage.reduced and self.kernel.phase_of[stage] == self.at - 1:
                self._fold(stage)
        for stage in self.phase.uniform:
            for row in range(self.plan.rows):
                self._deliver_row(stage, row, self._evaluate(stage, row, 0))
        pushed: dict[Stage, list[ir.Value]] = {}
        for row in range(self.plan.rows):
            folds: dict[Stage, PairwiseFold] = {}
            for chunk in range(self.plan.chunks):
                for stage in self.phase.stages:
                    value = self._evaluate(stage, row, chunk)
                    if not stage.reduced:
                        self._deliver(stage, row, chunk, value)
                        continue
                    term = self._term(stage, chunk, value)
                    if stage in self.kernel.array_sums:
                        pushed.setdefault(stage, []).append(term)
                    else:
                        folds.setdefault(stage, PairwiseFold(partial(combined, self.builder, stage.combine))).add(term)
                yield True
            for stage, fold in folds.items():
                self._store_item(self.kernel.partials[stage, self.side], row, fold.total(), LANES)
        for stage, terms in pushed.items():
            self._sum_in_array(stage, terms)

    # Tiles

    def _tile(self, ring: Ring, part: Part, name: str) -> ir.Value:
        key = (id(part), name)
        if key not in self.tiles:
            self.tiles[key] = self.kernel.part_at(ring, part, self.step, name)
        return self.tiles[key]

    def _load_item(self, ring: Ring, item: int, cols: int) -> ir.Value:
        part = part_of(ring, item)
        return self.builder.tile_load(
            self._tile(ring, part, f"read{self.at}"), self.builder.at(item - part.first), cols
        )

    def _store_item(self, ring: Ring, item: int, value: ir.Value, cols: int) -> None:
        part = part_of(ring, item)
        self.builder.tile_store(
            self.builder.as_row(value), self._tile(ring, part, "write"), self.builder.at(item - part.first), cols
        )

    # Values

    def _evaluate(self, stage: Stage, row: int, chunk: int) -> Evaluated:
        evaluator = Evaluator(
            self.builder, lambda read: self._load(stage.reads[read], row, chunk), broadcasts=stage in self.phase.stages
        )
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.kernel.expansions[stage] = bound
        return Evaluated(evaluator.operand(found), found.uniform)

    def _load(self, access: Access, row: int, chunk: int) -> Evaluated:
        kernel = self.kernel
        writer = kernel.writers.get(access.buffer)
        if writer is not None and (self.plan.lane not in writer.loops or writer.reduced):
            return self._row_value(access.buffer, row)
        if writer is not None:
            return self._computed(access.buffer, row, chunk)
        key = access_key(access)
        if key in kernel.fixed:
            return kernel.fixed[key]
        if key in kernel.fixed_rows:
            return Evaluated(kernel.fixed_rows[key][chunk], False)
        if self.plan.is_column(access):
            return Evaluated(self._element(key, row), True)
        item = chunk if key in kernel.fixed_tiles else row * self.plan.chunks + chunk
        if (key, item) not in self.loaded:
            image = kernel.image_of(access)
            value = self._external(key, item, kernel.cols(chunk)) if image is None else self._pixel(image, item)
            self.loaded[key, item] = Evaluated(value, False)
        return self.loaded[key, item]

    def _pixel(self, image: ImageRows, item: int) -> ir.Value:
        """A chunk of a pixel of an image in the pads."""
        tile, at = self._pixel_place(image, item, f"read{self.at}")
        return self.builder.tile_load(tile, at, LANES)

    def _pixel_place(self, image: ImageRows, item: int, name: str) -> tuple[ir.Value, Index]:
        key = (id(image), name)
        if key not in self.tiles:
            self.tiles[key] = self.kernel.pixel_tile(image, self.side, self.step, name)
        return self.tiles[key], self.builder.at(item * image.image.slice_rows)

    def _element(self, key: object, row: int) -> ir.Value:
        """What all lanes of a row meet: one element of those of the step's rows, which are side by side in the pads."""
        if (key, row) not in self.loaded:
            elements = self._load_item(self.kernel.inputs[key, self.side].ring, 0, self.plan.rows)
            self.loaded[key, row] = Evaluated(self.builder.extract(elements, row), True)
        element = self.loaded[key, row].value
        assert element is not None
        return element

    def _external(self, key: object, item: int, cols: int) -> ir.Value:
        if key not in self.kernel.fixed_tiles:
            return self._load_item(self.kernel.inputs[key, self.side].ring, item, cols)
        tile = self.kernel.fixed_tiles[key].tile
        if self.plan.groups > 1:
            if key not in self.tiles:
                group = self.kernel.counter(("group", self.at), Counter(0, 1, self.plan.groups - 1))
                offset = self.builder.times(group, self.plan.chunks * ROW_BYTES)
                self.tiles[key] = self.builder.tile_at(tile, offset, f"read{self.at}")
            tile = self.tiles[key]
        return self.builder.tile_load(tile, self.builder.at(item), cols)

    def _computed(self, buffer: Buffer, row: int, chunk: int) -> Evaluated:
        key = (buffer, row, chunk)
        if key not in self.values:
            item = row * self.plan.chunks + chunk
            self.values[key] = Evaluated(self._load_item(self.kernel.rings[buffer, self.side], item, LANES), False)
        return self.values[key]

    def _row_value(self, buffer: Buffer, row: int) -> Evaluated:
        key = (buffer, row)
        if key not in self.row_values:
            self.row_values[key] = Evaluated(self._load_item(self.kernel.rings[buffer, self.side], row, LANES), True)
        return self.row_values[key]

    def _deliver(self, stage: Stage, row: int, chunk: int, value: Evaluated) -> None:
        buffer = stage.write.buffer
        self.values[buffer, row, chunk] = value
        assert value.value is not None
        item = row * self.plan.chunks + chunk
        if (stage, self.side) in self.kernel.outputs:
            self._store_item(self.kernel.outputs[stage, self.side].ring, item, value.value, self.kernel.cols(chunk))
        if (buffer, self.side) in self.kernel.rings:
            self._store_item(self.kernel.rings[buffer, self.side], item, value.value, LANES)
        image = self.kernel.image_of(stage.write)
        if image is not None:
            tile, at = self._pixel_place(image, item, "write")
            self.builder.tile_store(self.builder.as_row(value.value), tile, at, LANES)

    def _deliver_row(self, stage: Stage, row: int, value: Evaluated) -> None:
        buffer = stage.write.buffer
        assert value.value is not None
        # a broadcast row takes no scalar ports, of which loads and stores need most
        wide = Evaluated(self.builder.as_row(value.value), True) if self._is_used_widely(buffer) else value
        self.row_values[buffer, row] = wide
        if (stage, self.side) in self.kernel.outputs:
            self._store_item(self.kernel.outputs[stage, self.side].ring, row, value.value, LANES)
        if (buffer, self.side) in self.kernel.rings:
            self._store_item(self.kernel.rings[buffer, self.side], row, value.value, LANES)

    def _is_used_widely(self, buffer: Buffer) -> bool:
        return any(read.buffer is buffer for stage in self.phase.stages for read in stage.reads)

    # Folds

    def _term(self, stage: Stage, chunk: int, value: Evaluated) -> ir.Value:
        """A chunk that is to be folded; lanes beyond the row's end hold what changes nothing."""
        assert value.value is not None and stage.combine is not None
        row, cols = self.builder.as_row(value.value), self.kernel.cols(chunk)
        is_loaded = stage.body.op == "load" and stage.reads[stage.body.read].buffer not in self.kernel.writers
        is_zero = stage.combine is Combine.ADD and is_loaded
        if cols == LANES or is_zero:
            return row
        identity = self.builder.constant(IDENTITY[stage.combine])
        return self.builder.select(self.builder.lane_mask(cols, LANES - 1), identity, row)

    def _sum_in_array(self, stage: Stage, terms: Sequence[ir.Value]) -> None:
        """Leave the sums of the lanes of each of the step's chunks to the next phase."""
        for term in terms:
            self.builder.push(term)
        assert self.kernel.ones is not None
        self._store_item(self.kernel.partials[stage, self.side], 0, self.builder.gemm(self.kernel.ones), LANES)

    def _fold(self, stage: Stage) -> None:
        """What a reducing stage of the phase before gives for each row, from the partial folds of its steps."""
        plan, builder, ring = self.plan, self.builder, self.kernel.partials[stage, self.side]
        assert stage.combine is not None
        in_array = stage in self.kernel.array_sums
        for row in range(plan.rows):
            item = 0 if in_array else row
            parts = PairwiseFold(partial(combined, self.builder, stage.combine))
            for part in range(plan.groups):
                parts.add(self._partial(ring, item, part))
            total = parts.total()
            if in_array:
                first = plan.items - (row + 1) * plan.chunks
                folded = builder.reduce("add", total, plan.chunks, first)
            else:
                folded = builder.reduce(stage.combine.value, total)
            self._deliver_row(stage, row, Evaluated(folded, True))

    def _partial(self, ring: Ring, item: int, part: int) -> ir.Value:
        """The partial fold that part `part` of the row has left."""
        key = (id(ring), item, part)
        if key not in self.loaded:
            tile = self._partial_tile(ring, part)
            self.loaded[key] = Evaluated(self.builder.tile_load(tile, self.builder.at(item), LANES), False)
        value = self.loaded[key].value
        assert value is not None
        return value

    def _partial_tile(self, ring: Ring, part: int) -> ir.Value:
        """The slot of the step that holds part `part` of the row."""
        name, home = f"read{self.at}", ring.parts[0]
        if self.plan.groups == 1:
            return self._tile(ring, home, name)
        key = (id(home), name, part)
        if key not in self.tiles:
            size = ring.slot_bytes(home)
            of_row = self.builder.both(self.kernel.offset(ring, home, self.step, name), -self.plan.groups * size)
            offset = self.builder.plus(of_row, part * size)
            self.tiles[key] = self.builder.tile_at(home.tile, offset, tile_name(name, self.plan.stages))
        return self.tiles[key]
