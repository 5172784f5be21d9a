"""Rows on a grid, cut into blocks; a block lies in the pads piece by piece, one transfer each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.codegen.placement import MAX_DMA_ROWS

MAX_PITCH = 1 << 20
MAX_PIECES = 8


@dataclass(frozen=True)
class Blocks:
    """Rows on a grid of two loops, cut into blocks of `lines` x `width`; of each of some pictures, if there are any.

    The last block along a loop ends with it, so it may overlap the one before. Lines are cut into pieces, each of which
    is one transfer: piece p lies in pad p mod `pads`. Where all lines lie in one run of rows, that run is cut instead;
    the rows between two lines then lie in the pads too.
    """

    line_loop: Loop | None
    loop: Loop | None
    lines: int
    width: int
    pads: int
    line_pitch: int = 0
    """Rows of the run from line to line; 0 where lines are moved one by one."""
    picture_loop: Loop | None = None
    """Over grids of which each has blocks of its own; None where there is one."""

    @property
    def num_lines(self) -> int:
        return self.line_loop.extent if self.line_loop is not None else 1

    @property
    def extent(self) -> int:
        return self.loop.extent if self.loop is not None else 1

    @cached_property
    def blocks_across(self) -> int:
        """Blocks side by side along a line."""
        return -(-self.extent // self.width)

    @property
    def num_pictures(self) -> int:
        return self.picture_loop.extent if self.picture_loop is not None else 1

    @property
    def pictures_together(self) -> int:
        """Pictures of which a block has all lines: `num_pictures` counts so many as one."""
        return 1

    @property
    def blocks_of_picture(self) -> int:
        return -(-self.num_lines // self.lines) * self.blocks_across

    @cached_property
    def num_blocks(self) -> int:
        return self.num_pictures * self.blocks_of_picture

    @property
    def excess_lines(self) -> int:
        """Lines by which the last block would stick out."""
        return -self.num_lines % self.lines

    @property
    def excess(self) -> int:
        """Rows by which the last block of a line would stick out."""
        return -self.extent % self.width

    @cached_property
    def rows(self) -> int:
        """Rows of a block."""
        return self.lines * self.width

    @property
    def moved_lines(self) -> int:
        """Lines that are cut into pieces: those of the block, or the one run that holds them."""
        return 1 if self.line_pitch else self.lines

    @property
    def moved_width(self) -> int:
        return (self.lines - 1) * self.line_pitch + self.width if self.line_pitch else self.width

    @cached_property
    def pieces_of_a_line(self) -> int:
        return max(1, min(self.pads // self.moved_lines, self.moved_width))

    @cached_property
    def num_pieces(self) -> int:
        return self.moved_lines * self.pieces_of_a_line

    @property
    def piece_rows(self) -> int:
        """Rows of the largest piece."""
        return -(-self.moved_width // self.pieces_of_a_line)

    @property
    def rows_per_pad(self) -> int:
        """Rows that one step of a block takes of each pad."""
        return -(-self.num_pieces // self.pads) * self.piece_rows

    @cached_property
    def moved_by_pad(self) -> tuple[int, ...]:
        """Rows that move into each pad for one step of a block."""
        rows = [0] * self.pads
        for piece in range(self.num_pieces):
            rows[piece % self.pads] += self.rows_of_piece(piece)
        return tuple(rows)

    def pad_of_piece(self, piece: int) -> int:
        return piece % self.pads

    def row_of_piece(self, piece: int) -> int:
        """The first row of its pad that a piece takes."""
        return piece // self.pads * self.piece_rows

    def rows_of_piece(self, piece: int) -> int:
        return len(range(piece % self.pieces_of_a_line, self.moved_width, self.pieces_of_a_line))

    def place(self, row: int) -> tuple[int, int]:
        """Pad of a row of a block, and the row there."""
        line, at = divmod(row, self.width)
        if self.line_pitch:
            line, at = 0, line * self.line_pitch + at
        piece = line * self.pieces_of_a_line + at % self.pieces_of_a_line
        return piece % self.pads, piece // self.pads * self.piece_rows + at // self.pieces_of_a_line

    @property
    def order(self) -> Sequence[int]:
        """The order in which the array takes the rows of a block."""
        return range(self.rows)

    def strides(self, access: Access) -> tuple[int, int]:
        """Elements from line to line, and from row to row in a line."""
        along = [access.stride(loop) if loop is not None else 0 for loop in (self.line_loop, self.loop)]
        return along[0], along[1]

    def picture_stride(self, access: Access) -> int:
        """Elements from picture to picture."""
        return access.stride(self.picture_loop) if self.picture_loop is not None else 0

    def last_offset(self, access: Access) -> int:
        """Elements from the first row of the first block to that of the last one."""
        lines, rows = self.strides(access)
        pictures = (self.num_pictures - 1) * self.pictures_together * self.picture_stride(access)
        last_line = self.num_lines - self.lines if self.num_lines > self.lines else 0
        return pictures + last_line * lines + max(0, self.extent - self.width) * rows

    def piece_offset(self, piece: int, access: Access) -> int:
        """Elements from a block's first row to the first one of a piece."""
        lines, rows = self.strides(access)
        line, first = divmod(piece, self.pieces_of_a_line)
        return line * lines + first * rows

    def pitch(self, access: Access) -> int:
        """Elements from row to row of a piece."""
        return self.strides(access)[1] * self.pieces_of_a_line

    def in_a_run(self, access: Access) -> Blocks | None:
        """These blocks with lines in one run of rows of an operand; None where they do not lie so."""
        lines, rows = self.strides(access)
        if self.lines == 1 or rows <= 0 or lines < self.width * rows or lines % rows:
            return None
        return replace(self, line_pitch=lines // rows)

    def over(self, loops: Mapping[Loop | None, Loop]) -> Blocks:
        """The same blocks of rows over other loops, which stand for those of these blocks."""
        return replace(
            self,
            picture_loop=loops.get(self.picture_loop),
            line_loop=loops.get(self.line_loop),
            loop=loops.get(self.loop),
        )

    def can_move(self, access: Access, lanes: int) -> bool:
        """Whether one transfer can take a piece: few enough rows, which must not overlap, nor lie too far apart."""
        if self.piece_rows > MAX_DMA_ROWS:
            return False
        return self.piece_rows == 1 or lanes <= self.pitch(access) <= MAX_PITCH


def row_blocks(loops: Sequence[Loop], limit: int, pads: int, picture_loop: Loop | None = None) -> Iterator[Blocks]:
    """Ways to cut rows into blocks of at most `limit`: as few as possible of each width, of about equal size."""
    line_loop, loop = (loops[0], loops[1]) if len(loops) == 2 else (None, loops[0] if loops else None)
    num_lines, extent = (line_loop.extent if line_loop else 1), (loop.extent if loop else 1)
    seen: set[tuple[int, int]] = set()
    for across in range(-(-extent // limit), extent + 1):
        width = -(-extent // across)
        for most in range(1, min(num_lines, limit // width) + 1):
            lines = -(-num_lines // -(-num_lines // most))
            if (lines, width) not in seen:
                seen.add((lines, width))
                yield Blocks(line_loop, loop, lines, width, pads, picture_loop=picture_loop)
