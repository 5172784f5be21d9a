"""How one attention is laid over the machine: blocks of queries, tiles of keys, and where everything lies in the pads.

For a group of heads the pads hold queries, keys, values, values turned, scores and results at once. Three flat loops
run over the group: scores (a block of queries against a tile of keys), softmax (some rows of scores), results (a block
of exponentials against a tile of values). Row r of a block lies in pad r mod 4, so that neighbours use different pads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from atalla_mlir.codegen.attention_strata import Stratum, VisibleTiles
from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.codegen.row_deal import IN_ORDER, RowDeal

LANES = 32
PADS = 4
MAX_KEY_TILES = 32
"""Tiles of keys whose results are added in sequence, and chunks of a row in the softmax."""
SUMMED_CHUNKS = 32
"""Chunks of rows that the array sums at once."""
RESULT_CODE = 1040
"""Instructions of an iteration that makes results, but for addresses and transfers: with these the code of a loop fits
into the cache."""
UNSUMMED_ROWS = 128
"""Queries that meet a tile of values in an iteration that adds nothing: registers hold them on their way only, and the
array takes as long for its weights however many follow."""
SCORE_ROWS = 128
"""Queries that meet a tile of keys in an iteration, if their blocks are shorter: registers hold their sums until the
second slice of the depth comes."""
MAX_SUMMED_SLICES = 2
SCORE_CODE = 1030
"""Instructions of an iteration over several blocks: with more the code of the loop may not fit into the cache."""
FLOW_CODE = 55
"""Instructions that bring pieces of an operand beside a loop."""
RESULT_ROWS = 300
"""Rows that the array takes in an iteration that makes results, those of weights as well."""
MAX_SCALAR_TERMS = 8
"""Sums of chunks that are added as scalars."""
AHEAD = 3
"""Iterations that the scheduler may overlap."""
LAG = AHEAD
"""Steps of the softmax between two of its phases, each of which works on another step in an iteration."""
PHASES = 2
SUM_STEPS = 8
"""Steps whose sums are kept where rows are short: the phase that takes them is late by less, and no more overlap."""
EDGE = (PHASES - 1) * LAG
"""Steps that do not exist at either end, for phases that are ahead or late."""


@dataclass(frozen=True)
class Blocks:
    """`count` blocks of `size` along `extent`; the last one ends with it and so may overlap the one before."""

    extent: int
    size: int

    @property
    def count(self) -> int:
        return -(-self.extent // self.size)

    def start(self, block: int) -> int:
        return min(block * self.size, self.extent - self.size)

    @property
    def excess(self) -> int:
        """Elements by which the last block begins earlier than in a row of blocks without overlap."""
        return self.count * self.size - self.extent


@dataclass(frozen=True)
class KeyRange:
    """`rounds` times `tiles` tiles of keys, from tile `first` on."""

    first: int
    tiles: int
    rounds: int
    blocks: int = 1
    """Blocks of queries that an iteration takes."""


@dataclass(frozen=True)
class KeyParts:
    """Keys in `count` parts of `size` and one of `rest`, unless that is zero: more than one row of scores may have."""

    size: int
    count: int
    rest: int

    @property
    def total(self) -> int:
        return self.count + (self.rest > 0)


@dataclass(frozen=True)
class StepRow:
    """A row of scores of a step of the softmax: its pad, its number there, from the first row of the step on, and the
    tiles of keys that it sees; chunks from these to `cleared` become zeros."""

    pad: int
    place: int
    tiles: int
    cleared: int


@dataclass(frozen=True)
class AttentionPlan:
    """`group` are the innermost loops over heads, which are in the pads together; `outer` the loops around them."""

    outer: tuple[Loop, ...]
    group: tuple[tuple[Loop, int], ...]
    """With how many iterations at once; fewer than the loop's are taken in turn."""
    queries: Blocks
    keys: Blocks
    depth: int
    width: int
    step_rows: int
    """Rows of a step of the softmax."""
    is_turned: bool
    """Whether values lie with the keys along the lanes already."""
    query_loop: Loop
    outside: tuple[Access, ...]
    """Operands that the scores meet before the softmax."""
    is_tight: bool = False
    """Whether rows are saved at some cost: values come into the place of the keys, when the scores are there, and sums
    are kept for a few steps only."""
    panels: Blocks | None = None
    """Queries of a head in turn, where they are not all in the pads at once; `queries` are those of a panel."""
    parts: KeyParts | None = None
    """Keys of a head in turn, where they are more than a row of scores may have; `keys` are those of a part."""
    reach: int | None = None
    """Query r sees keys up to r + `reach`, where that is known; else all that no operand of the scores hides."""
    visible: VisibleTiles | None = None
    """What is seen of the keys where the rest is left out."""
    deal: RowDeal = IN_ORDER
    """Which queries a block has."""
    key_deal: RowDeal = IN_ORDER
    """Which keys a tile has."""
    found: frozenset[str] = frozenset()
    """Of queries, keys and values, what other kernels left in the pads."""
    scalings: int | None = None
    """How often scores are multiplied by a number before the softmax; None where more is done to them."""
    has_run_of_values: bool = True
    """Whether tiles of values follow each other through all slices and heads; in a batch they do not."""

    @property
    def rest(self) -> AttentionPlan | None:
        """The plan for the last part of the keys, if that is shorter."""
        if self.parts is None or not self.parts.rest:
            return None
        return replace(self, keys=Blocks(self.parts.rest, LANES))

    @property
    def skips_parts(self) -> bool:
        """Whether parts are left out that no query of a panel sees."""
        return self.parts is not None and self.parts.count > 1 and self.panels is not None and self.reach is not None

    @property
    def num_parts(self) -> int:
        return 1 if self.parts is None else self.parts.total

    @property
    def heads(self) -> int:
        """Heads of a group."""
        return math.prod(count for _, count in self.group)

    @property
    def head_extents(self) -> tuple[int, ...]:
        """Of the loops over the heads of a group."""
        return tuple(count for _, count in self.group)

    def head_strides(self, head: int) -> tuple[int, ...]:
        """From one iteration of each of these loops to the next one, where heads lie `head` apart."""
        extents = self.head_extents
        return tuple(head * math.prod(extents[at + 1 :]) for at in range(len(extents)))

    @property
    def moved_queries(self) -> Blocks:
        """Blocks of queries as they lie in DRAM; where they are dealt from halves, of each half."""
        return Blocks(self.queries.extent // self.deal.sides, self.queries.size // self.deal.sides)

    @property
    def moved_keys(self) -> Blocks:
        """The same for tiles of keys."""
        return Blocks(self.keys.extent // self.key_deal.sides, self.keys.size // self.key_deal.sides)

    @property
    def depth_slices(self) -> int:
        return -(-self.depth // LANES)

    @property
    def width_tiles(self) -> int:
        return -(-self.width // LANES)

    @property
    def key_tiles(self) -> int:
        return self.keys.count

    @property
    def piece_rows(self) -> int:
        """Rows of a block in each pad, at most."""
        return -(-self.queries.size // PADS)

    @property
    def blocks(self) -> int:
        """Blocks of queries of all heads of a group."""
        return self.heads * self.queries.count

    @property
    def steps(self) -> int:
        """Steps of the softmax of a group; the last one may go beyond its rows."""
        if self.visible is not None:
            return self.heads * self.visible.rows // self.visible.step_rows
        return -(-self.blocks * self.piece_rows // (self.step_rows // PADS))

    @property
    def head_rows(self) -> int:
        """Rows of scores of a head in each pad."""
        return self.queries.count * self.piece_rows

    @property
    def rows_of_step(self) -> list[StepRow]:
        """Rows of a step of the softmax."""
        strata, rows = [Stratum(0, self.key_tiles, 0)], self.step_rows // PADS
        if self.visible is not None:
            strata, rows = list(self.visible.strata), self.visible.step_rows
        return [
            StepRow(pad, stratum.first + row, stratum.tiles, stratum.cleared)
            for row in range(rows)
            for stratum in strata
            for pad in range(PADS)
        ]

    @property
    def summed_rows(self) -> list[list[StepRow]]:
        """Rows of a step whose chunks the array sums at once."""
        groups: list[list[StepRow]] = []
        room = 0
        for row in self.rows_of_step:
            if row.tiles > room:
                groups.append([])
                room = SUMMED_CHUNKS
            groups[-1].append(row)
            room -= row.tiles
        return groups

    @property
    def score_rows(self) -> int:
        """Rows of scores in a pad, with those that steps beyond the last one work on."""
        return self.statistics_rows if self.visible is None else (self.heads + 1) * self.head_rows

    @property
    def first_score(self) -> int:
        """Rows of each pad before the first score."""
        return self.rows_before * self.key_tiles if self.visible is None else 0

    @property
    def rows_before(self) -> int:
        """Rows of each pad before the first one of a softmax: phases that are late begin there."""
        return EDGE * self.step_rows // PADS if self.visible is None else self.head_rows

    @property
    def total_roundings(self) -> int:
        """Roundings that an exponential takes part in on its way to the sum of its row."""
        inside = max(
            1 + (row.tiles - 1).bit_length() if row.tiles <= MAX_SCALAR_TERMS else 3 for row in self.rows_of_step
        )
        # sums of parts are multiplied by a factor and added in a tree
        return inside if self.parts is None else inside + 1 + (self.num_parts - 1).bit_length()

    @property
    def score_blocks(self) -> int:
        """Blocks of queries of a head that a tile of keys meets in an iteration: the array waits for its weights once.

        Where more is done to scores than to multiply them, lanes take longer than the array.
        """
        if self.scalings is None or self.depth_slices > MAX_SUMMED_SLICES or self.visible is not None:
            return 1
        blocks = self._blocks_within(SCORE_ROWS)
        return blocks if self._score_code(blocks) <= SCORE_CODE else 1

    def _score_code(self, blocks: int) -> int:
        """Instructions of an iteration that makes scores, but for addresses.

        Rows of weights and of queries are loaded and meet the array; its sums are added, multiplied and stored.
        """
        rows, moved = blocks * self.queries.size, {"queries", "keys"} - self.found
        in_array = 2 * self.depth_slices * (LANES + rows)
        on_lanes = rows * (self.depth_slices - 1 + (self.scalings or 0))
        return in_array + on_lanes + rows + FLOW_CODE * len(moved)

    @property
    def score_iterations(self) -> int:
        """Iterations of the loop over scores for a head."""
        if self.visible is not None:
            return len(self.visible.points)
        return self.queries.count // self.score_blocks * self.key_tiles

    @property
    def step_sums(self) -> int:
        """Rows in a pad for the sums that the array gives for a step."""
        return -(-len(self.summed_rows) // PADS)

    @property
    def sum_steps(self) -> int:
        """Steps whose sums are kept."""
        return SUM_STEPS if self.is_tight else self.steps + 2 * EDGE

    @property
    def key_rows(self) -> int:
        """Rows in a pad for a tile of keys."""
        return LANES // PADS * self.depth_slices

    @property
    def value_rows(self) -> int:
        """Rows in a pad for a tile of keys of values that must be turned."""
        return 0 if self.is_turned else LANES // PADS * self.width_tiles

    @property
    def value_pieces(self) -> int:
        """Tiles of values of a group, each of 32 keys and 32 of the width."""
        return self.heads * self.width_tiles * self.key_tiles

    @property
    def turns_beside(self) -> bool:
        """Whether values are turned beside the softmax, one tile in each step, as the array has time there."""
        return not self.is_turned and self.value_pieces <= self.steps

    @property
    def turned_together(self) -> int:
        """Tiles of values that are turned in one iteration: both lie equally far apart in all of them."""
        is_even = self.value_pieces % 2 == 0
        if not self.has_run_of_values:
            is_even = self.key_tiles % 2 == 0 or (self.key_tiles == 1 and self.width_tiles % 2 == 0)
        return 2 if is_even and not self.turns_beside else 1

    @property
    def turned_rows(self) -> int:
        """Rows in a pad of values that are turned; beside the softmax there may be more turns than values."""
        return (self.value_pieces + self.turns_beside) * LANES // PADS

    @property
    def has_whole_rows(self) -> bool:
        """Whether transfers write all lanes of what they fetch, so that nothing need be zero before."""
        return self.depth % LANES == 0 and self.width % LANES == 0 and self.keys.size == LANES

    @property
    def turns_in_place(self) -> bool:
        """Whether tiles of values are turned where they lie."""
        return not self.is_turned and self.has_whole_rows and "values" not in self.found

    @property
    def result_rows(self) -> int:
        """Rows in a pad for results."""
        return self.blocks * self.piece_rows * self.width_tiles

    @property
    def query_rows(self) -> int:
        """Rows in a pad for queries, and for the results in their place where nothing there must stay zero."""
        rows = self.blocks * self.piece_rows * self.depth_slices
        return max(rows, self.result_rows) if self.has_whole_rows else rows

    @property
    def group_key_rows(self) -> int:
        """Rows in a pad for the keys of a group, and for values that come into their place."""
        rows = self.heads * self.key_tiles * self.key_rows
        return max(rows, self.group_value_rows) if self.is_tight else rows

    @property
    def group_value_rows(self) -> int:
        """Rows in a pad for the values of a group, before and after turning if that is one place."""
        return self.turned_rows if self.turns_in_place else self.heads * self.key_tiles * self.value_rows

    @property
    def result_loops(self) -> list[KeyRange]:
        """The tiles of keys that each loop over results takes: one loop where their code fits into the cache, else the
        first tiles, of which there may be fewer, those that are added in rounds, and the last ones, which also divide
        by the sums of the softmax, unless that is done for all parts."""
        last = min(self._tiles_together(4), self.key_tiles) if self.parts is None else 0
        each, before = self._tiles_together(2), self.key_tiles - last
        first = (before - 1) % each + 1 if before else 0
        rounds = (before - first) // each
        blocks = self._blocks_within(UNSUMMED_ROWS) if first == 1 else 1
        loops = [KeyRange(0, first, 1, blocks), KeyRange(first, each, rounds), KeyRange(before, last, 1)]
        return [loop for loop in loops if loop.tiles * loop.rounds]

    def _blocks_within(self, rows: int) -> int:
        """Blocks of queries of a head, in equal numbers, that are at most as many rows, or one."""
        most = max(1, rows // self.queries.size)
        return next(count for count in range(most, 0, -1) if self.queries.count % count == 0)

    def _tiles_together(self, per_row: int) -> int:
        """Tiles of keys in an iteration with `per_row` more instructions for each row of results.

        A row of a tile is loaded, met by the array and added; the rows of its weights are loaded and pushed.
        """
        rows = self.queries.size
        code = (RESULT_CODE - per_row * rows) // (3 * rows + 2 * LANES)
        return max(1, min(code, RESULT_ROWS // (LANES + rows)))

    @property
    def statistics_rows(self) -> int:
        """Rows in a pad for a number of each row of scores."""
        if self.visible is not None:
            return (self.heads + 2) * self.head_rows
        return (self.steps + 2 * EDGE) * self.step_rows // PADS

    @property
    def regions(self) -> dict[str, int]:
        """Rows in each pad by what lies there, for a group; what comes into the place of something else is left out."""
        rows = self._regions()
        rest = {} if self.rest is None else self.rest._regions()
        return {name: max(rows.get(name, 0), rest.get(name, 0)) for name in {**rows, **rest}}

    def _regions(self) -> dict[str, int]:
        """The same for keys like those of the first part."""
        shares_results = self.parts is None and self.has_whole_rows and "queries" not in self.found
        rows = {
            "queries": self.query_rows,
            "keys": self.group_key_rows,
            "values": 0 if self.is_tight else self.group_value_rows,
            "turned": 0 if self.turns_in_place else self.turned_rows,
            "scores": self.score_rows * self.key_tiles,
            "sums": self.sum_steps * self.step_sums,
            "factors": self.num_parts * self.statistics_rows,
            "maxima": 0 if self.parts is None else self.num_parts * self.statistics_rows,
            "results": 0 if shares_results else self.num_parts * self.result_rows,
            "stairs": 0 if self.reach is None else 2 * self.queries.size + LANES,
            **{f"outside{number}": self.outside_rows(access) for number, access in enumerate(self.outside)},
            "sink": 1,
        }
        return {name: count for name, count in rows.items() if count and name not in self.found}

    @property
    def pad_rows(self) -> int:
        """Rows of each pad for a group."""
        return sum(self.regions.values())

    def varies(self, access: Access) -> bool:
        """Whether an operand of the scores differs between the heads of a group."""
        return any(access.stride(loop) for loop, _ in self.group)

    def outside_rows(self, access: Access) -> int:
        """Rows of each pad for an operand of the scores."""
        if is_uniform(access):
            return 1
        count = self.heads if self.varies(access) else 1
        if not access.stride(self.query_loop):
            return count * self.key_tiles
        return count * self.queries.count * self.key_tiles * self.piece_rows


def is_uniform(access: Access) -> bool:
    """Whether all scores meet the same element."""
    return not any(access.strides.values())
