"""What happens to the results of a tile: the epilogue runs on its rows, and transfers take them to DRAM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.halved_blocks import HalvedResults
from atalla_mlir.codegen.iteration import Access, Buffer
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.row_body import RowBody
from atalla_mlir.kernels.row_places import Place
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, KEPT_PART, ROW_BYTES, TileAddresses
from atalla_mlir.kernels.tile_rows import RowPlace, Rows, TileRows
from atalla_mlir.kernels.tile_walk import TilePlan


class TileResults:
    """Finishes tiles. `begins_totals` says that totals lie in the pads, which begin anew for the tile that follows."""

    def __init__(
        self, rows: TileRows, addresses: TileAddresses, buffers: Mapping[Buffer, ir.Value], *, begins_totals: bool
    ) -> None:
        self.rows, self.addresses, self.buffers, self.begins_totals = rows, addresses, buffers, begins_totals
        self.builder, self.schedule, self.pads = rows.builder, rows.schedule, rows.schedule.rows.pads
        self.results = addresses.results

    def sends(self) -> list[tuple[Access, int]]:
        """A transfer for each result and each piece of a block of rows."""
        return [
            (access, piece) for access in self.rows.epilogue.stored for piece in range(self.schedule.results.num_pieces)
        ]

    def _move_staged(
        self, kind: str, tiles: Sequence[ir.Value], access: Access, piece: int, address: ir.Value
    ) -> ir.Value:
        rows, builder = self.schedule.results, self.builder
        pad, cols = rows.pad_of_piece(piece), self.schedule.cols.width
        shape = self.addresses.shape(rows, access, piece, cols)
        return builder.transfer(
            kind,
            tiles[pad],
            builder.index_constant(rows.row_of_piece(piece) * ROW_BYTES),
            builder.plus(address, rows.piece_offset(piece, access) * ELEMENT_BYTES),
            builder.index_constant(shape.encode()),
            [self.buffers[access.buffer]],
            rows=shape.rows,
            cols=cols,
        )

    def fetch_staged(self, tile: TilePlan, buffer: ir.Value) -> list[ir.Value]:
        """Fetch operands of the epilogue that differ from row to row, a tile ahead; the buffer, and tokens."""
        tokens: list[ir.Value] = []
        for access in self.rows.epilogue.staged_reads:
            address = tile.results[self.results.index(access)]
            tiles = self._staged_part(access, buffer, "following")
            pieces = range(self.schedule.results.num_pieces)
            tokens.extend(self._move_staged("fetch", tiles, access, piece, address) for piece in pieces)
        return [buffer, *tokens] if tokens else []

    def _staged_part(self, access: Access, buffer: ir.Value, use: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, buffer, use) for tile in self.rows.staged_tiles[id(access)]]

    def finish(self, tile: TilePlan, following: TilePlan, buffer: ir.Value, total: Rows) -> list[ir.Value]:
        """Run the epilogue on the rows of a tile and send the results."""
        self.look_at(tile, buffer)
        if self.rows.epilogue.in_loop(self.schedule):
            self.store_totals(total)
            self.finish_in_loop(following)
        else:
            for row, value in enumerate(total):
                self.finish_row(self._place(row), value)
        return self.send(tile.results)

    def look_at(self, tile: TilePlan, buffer: ir.Value) -> None:
        """Say where what the epilogue meets and makes lies for a tile."""
        rows, rows_kernel = self.rows, self.rows.staged
        for access in rows.epilogue.column_reads:
            if access is not rows.epilogue.initial:
                rows_kernel.columns[access.buffer, access.offset] = rows.column(access, tile)
        for access in rows.epilogue.staged_reads:
            rows_kernel.staging[access.buffer, access.offset] = self._staged_part(access, buffer, "present")
        if rows.kept is not None:
            kept = rows.kept.access
            places = [self.builder.tile_at(pad, tile.kept[-1], KEPT_PART) for pad in rows.kept.tiles]
            rows_kernel.staging[kept.buffer, kept.offset] = places
        for image, start in zip(rows.images, tile.kept, strict=False):
            rows_kernel.images[image.access.buffer, image.access.offset] = (image, image.parts(self.builder, start))

    def store_totals(self, total: Rows) -> None:
        """For a loop over rows."""
        for row, value in enumerate(total):
            pad, number = self.schedule.results.place(row)
            self.builder.tile_store(value, self.rows.totals[pad], Index(number), LANES)

    def send(self, addresses: Sequence[ir.Value]) -> list[ir.Value]:
        """Send the results of a tile to where they begin in DRAM; tokens."""
        staging = self.rows.staged.staging
        return [
            self._move_staged("send", staging[access.buffer, access.offset], access, piece, address)
            for access, piece in self.sends()
            for address in [addresses[self.results.index(access)]]
        ]

    def _place(self, row: int) -> RowPlace:
        results = self.schedule.results
        pad, number = results.place(row)
        if not isinstance(results, HalvedResults):
            line, pixel = divmod(row, results.width)
            return RowPlace(pad, Index(number), 0, line, Index(pixel))
        half, line, pixel = results.in_order.place(row)
        return RowPlace(pad, Index(number), half, line, Index(pixel))

    def finish_row(self, at: RowPlace, value: ir.Value) -> None:
        """Run the epilogue on one row."""
        rows_kernel = self.rows.staged
        finished, place = self.rows.finished.write, Place({}, LANES)
        rows_kernel.at = at
        if finished.buffer in rows_kernel.buffers:
            rows_kernel.store(finished, place, value)
        body = RowBody(rows_kernel, [place])
        body.values[0][finished.buffer] = Evaluated(value, False)
        body.emit()

    def finish_in_loop(self, following: TilePlan) -> None:
        """From the pads: unrolled, a long epilogue would not fit the instruction cache.

        Rows that a block does not have are computed too, from whatever lies there. Totals in the pads begin anew.
        """
        rows, builder, together = self.schedule.results, self.builder, self.rows.epilogue.rows_together(self.schedule)
        initial = self.rows.initial_row(following) if self.begins_totals else None

        def finish_row(place: RowPlace) -> None:
            total = self.rows.totals[place.pad]
            self.finish_row(place, builder.tile_load(total, place.row, LANES))
            if initial is not None:
                builder.tile_store(initial, total, place.row, LANES)

        def finish(index: Index) -> None:
            for row in range(together):
                for pad in range(min(self.pads, rows.num_pieces)):
                    finish_row(RowPlace(pad, index.scaled(together) + row))

        if isinstance(rows, HalvedResults) and self.rows.epilogue.meets_images:
            self._finish_pixels(rows, finish_row)
            return
        builder.repeat(-(-rows.rows_per_pad // together), finish)

    def _finish_pixels(self, rows: HalvedResults, finish_row: Callable[[RowPlace], None]) -> None:
        """Some pixels of each piece in an iteration, those that are left over in straight code: there are no rows to
        spare around an image, on which a loop could go on."""
        together = self.rows.epilogue.pixels_together(rows)

        def finish(first: Index, count: int) -> None:
            for number in range(rows.num_pieces):
                half, line, pixel = rows.first_of_piece(number)
                for at in (first + more for more in range(count)):
                    place = at + rows.row_of_piece(number)
                    finish_row(
                        RowPlace(rows.pad_of_piece(number), place, half, line, at.scaled(rows.rows_apart) + pixel)
                    )

        whole, rest = divmod(rows.piece_rows, together)
        self.builder.repeat(whole, lambda index: finish(index.scaled(together), together))
        finish(Index(whole * together), rest)
