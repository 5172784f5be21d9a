"""Which plan an attention gets (`codegen.attention_plan`): how many heads at once, in what blocks, panels and parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import (
    LANES,
    MAX_KEY_TILES,
    PADS,
    RESULT_CODE,
    AttentionPlan,
    Blocks,
    KeyParts,
    is_uniform,
)
from atalla_mlir.codegen.attention_strata import SpanLimits, StepLimits, visible_tiles, with_spans
from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.target.machine import AX01

SPILL_ROWS = 256
PAD_ROWS = AX01.pad_rows - SPILL_ROWS
"""Rows of each pad for an attention; the register allocator may spill to the others."""
BLOCK_ROWS = (72, 104)
"""Queries of a block, at most: what registers hold between the slices of a depth of two, and what they and the code of
an iteration just allow."""
DEEP_PIECES = 48
"""Rows of a block in each pad, of all slices of a depth of more than two: each is an address, and code."""
LONG_BLOCK_GAIN = 1.15
"""By what factor longer blocks must take less of the array: their loops come less close to their bounds."""
WEIGHT_CYCLES = 63
"""Cycles for which the array takes no rows while a tile of weights comes in."""
MIN_PANEL_ROWS = 32
"""Queries for which the keys and values of a head may be fetched once more."""
MAX_KEYS = MAX_KEY_TILES * LANES
PART_KEYS = 512
"""Keys of a part, where they are not too many: a step of the softmax for four rows of these is code that fits into
the cache."""
MAX_WIDTH = 256
"""Elements of a query, and of a row of values: all of their slices are straight code."""
MAX_PITCH = 1 << 20
"""Elements between two rows of a transfer, at most."""
STEP_CHUNKS = 88
"""Chunks of a step of the softmax, at most: they leave the array time to turn a tile of values, and fit the cache."""
MAX_STEP_ROWS = 16
MAX_PART_DEPTH = 96
"""Elements of a query where keys come in parts: more slices are more code than a loop over scores overlaps, and three
kernels were measured to take two thirds of the cycles or less."""
MAX_PARTS = 16
"""Parts of a row of scores, which straight code combines."""
SPANS = SpanLimits(code=1070, rows=300, head_rows=32)
"""Of loops that make the results of a head at a time, where keys are hidden: they fit the cache, and sums of all rows
are in registers."""


def plan_attention(attention: Attention, pad_rows: int = PAD_ROWS) -> AttentionPlan | str:
    """A plan that fits into `pad_rows` rows of each of four pads, or why there is none.

    Keys that are too many for a row of scores are taken in as few parts as fit. Where the scores of all queries of a
    head do not fit, its queries are taken in panels.
    """
    reason = _refusal(attention)
    if reason is not None:
        return reason
    ways = list(key_parts(attention.keys.extent))
    if not ways:
        return f"a row of {attention.keys.extent} scores is longer than {MAX_PARTS * MAX_KEYS}"
    is_deep = attention.depth.extent > MAX_PART_DEPTH and attention.queries.extent >= MIN_PANEL_ROWS
    if None not in ways and is_deep:
        return f"with queries of {attention.depth.extent} elements and over {MAX_KEYS} keys three kernels are faster"
    plans = [_plan_of(attention, parts, pad_rows) for parts in ways]
    return next((plan for plan in plans if isinstance(plan, AttentionPlan)), plans[0])


def key_parts(keys: int) -> Iterator[KeyParts | None]:
    """Ways to take as many keys, in few parts first; None if they may be one row of scores."""
    if keys <= MAX_KEYS:
        yield None
        return
    for count in range(min(-(-keys // PART_KEYS), MAX_PARTS), MAX_PARTS + 1):
        size = -(-keys // (count * LANES)) * LANES
        whole, rest = divmod(keys, size)
        # the last tile of a part that is not whole begins early, within the part
        if size <= MAX_KEYS and (not rest or rest >= LANES):
            yield KeyParts(size, whole, rest)


def _plan_of(attention: Attention, parts: KeyParts | None, pad_rows: int) -> AttentionPlan | str:
    """A plan with keys in these parts: with as many heads in a group as fit, or with queries in as few panels."""
    loops = sorted(attention.heads, key=lambda loop: -attention.query.stride(loop))
    most = attention.keys.extent if parts is None else parts.size
    keys = Blocks(most, min(LANES, most))
    rows = attention.queries.extent

    def plan(
        outer: Sequence[Loop], group: Sequence[tuple[Loop, int]], panel: int = rows, *, is_tight: bool = False
    ) -> AttentionPlan:
        found = AttentionPlan(
            tuple(outer),
            tuple(group),
            Blocks(panel, _block_rows(attention, panel)),
            keys,
            attention.depth.extent,
            attention.width.extent,
            _step_rows(keys.count),
            _is_turned(attention),
            attention.queries,
            tuple(attention.outside),
            panels=Blocks(rows, panel) if panel < rows else None,
            parts=parts,
            reach=None if attention.visible is None else attention.visible.reach,
            scalings=len(attention.found.maps) if all(map(_is_scaling, attention.found.maps)) else None,
        )
        if parts is None and panel == rows:
            found = _with_visible(found)
        return replace(found, is_tight=is_tight and found.turns_in_place)

    best = plan(loops, [])
    for outer, group, is_tight in ((*way, is_tight) for is_tight in (False, True) for way in _groupings(loops)):
        candidate = plan(outer, group, is_tight=is_tight)
        if candidate.pad_rows <= pad_rows and candidate.heads > best.heads:
            best = candidate
    panels = [plan(loops, [], panel) for panel in _panels(rows)]
    fitting = [candidate for candidate in panels if candidate.pad_rows <= pad_rows]
    # panels as long as parts: longer ones see more of the parts, shorter ones fetch them more often
    short = [candidate for candidate in fitting if candidate.skips_parts and candidate.queries.extent <= most]
    if rows > most and short:
        return short[0]
    if best.pad_rows <= pad_rows:
        return best
    return fitting[0] if fitting else f"the operands and scores of a head take {best.pad_rows} rows of each pad"


def _with_visible(plan: AttentionPlan) -> AttentionPlan:
    """The plan without the work that a mask hides, where that is known and worth it."""
    if plan.reach is None or plan.keys.size < LANES:
        return plan
    limits = StepLimits(MAX_STEP_ROWS, STEP_CHUNKS, PADS)
    firsts = [plan.queries.start(block) for block in range(plan.queries.count)]
    found = visible_tiles(firsts, plan.queries.size, plan.key_tiles, plan.reach, limits)
    if found is None:
        return plan
    if not plan.queries.excess and not plan.queries.size % PADS and plan.width % LANES == 0:
        found = with_spans(found, SPANS, PADS)
    return replace(plan, visible=found, step_rows=PADS * found.step_rows * len(found.strata))


def _is_scaling(stage: Stage) -> bool:
    return stage.body.op == "mul" and sorted(arg.op for arg in stage.body.args) == ["constant", "load"]


def _panels(rows: int) -> Iterator[int]:
    """Queries of a panel, from many to few: those of all but the last are a multiple of 4, and it may overlap."""
    for count in range(2, rows // MIN_PANEL_ROWS + 1):
        panel = -(-rows // (count * PADS)) * PADS
        if panel < rows:
            yield panel


def _groupings(loops: Sequence[Loop]) -> Iterator[tuple[list[Loop], list[tuple[Loop, int]]]]:
    """Ways to split the loops over heads: the inner ones whole, of the next one a divisor."""
    for at in range(len(loops), -1, -1):
        inner = [(loop, loop.extent) for loop in loops[at:]]
        yield list(loops[:at]), inner
        if at:
            loop = loops[at - 1]
            for count in range(2, loop.extent):
                if loop.extent % count == 0:
                    yield list(loops[: at - 1]), [(loop, count), *inner]


def _refusal(attention: Attention) -> str | None:
    lanes = (
        (attention.query, attention.depth, "queries"),
        (attention.key, attention.depth, "keys"),
        (attention.output, attention.width, "results"),
    )
    for access, loop, name in lanes:
        if access.stride(loop) != 1 and loop.extent > 1:
            return f"its {name} are not contiguous"
    if 1 not in (attention.value.stride(attention.width), attention.value.stride(attention.keys)):
        return "its values are not contiguous"
    if attention.output.stride(attention.keys):
        return "its results are not those of a product"
    if max(attention.depth.extent, attention.width.extent) > MAX_WIDTH:
        return f"its queries or values are wider than {MAX_WIDTH}"
    rows = (
        (attention.query, attention.queries, attention.depth),
        (attention.key, attention.keys, attention.depth),
        (attention.value, *_value_rows(attention)),
        (attention.output, attention.queries, attention.width),
        *((access, attention.queries, attention.keys) for access in attention.outside),
    )
    if not all(_is_transferable(*row) for row in rows):
        return "rows of an operand overlap, or lie too far apart for one transfer"
    for access in attention.outside:
        reason = _outside_refusal(access, attention)
        if reason is not None:
            return reason
    return None


def _is_turned(attention: Attention) -> bool:
    """Whether values lie with the keys along the lanes."""
    return attention.value.stride(attention.keys) == 1 and attention.value.stride(attention.width) != 1


def _value_rows(attention: Attention) -> tuple[Loop, Loop]:
    """The loops over rows of values and along them."""
    loops = (attention.keys, attention.width)
    return (loops[1], loops[0]) if _is_turned(attention) else loops


def _is_transferable(access: Access, rows: Loop, lanes: Loop) -> bool:
    """Whether every fourth of some rows can be moved at once; one row for all is."""
    pitch = access.stride(rows)
    return pitch == 0 or min(LANES, lanes.extent) <= PADS * pitch <= MAX_PITCH


def _outside_refusal(access: Access, attention: Attention) -> str | None:
    known = {attention.queries, attention.keys, *attention.heads}
    if access.indirect or any(loop not in known for loop in access.strides):
        return "its scores meet an operand of another shape"
    if access.stride(attention.keys) != 1 and not is_uniform(access):
        return "its scores meet an operand that is not a row of keys"
    return None


def block_rows(extent: int) -> int:
    """Rows of the blocks of queries: few of them where blocks of the usual size leave much of the array unused."""
    usual, longer = (_equal_blocks(extent, most) for most in BLOCK_ROWS)
    cycles = [-(-extent // rows) * (rows + WEIGHT_CYCLES) for rows in (usual, longer)]
    return longer if cycles[1] * LONG_BLOCK_GAIN <= cycles[0] else usual


def _block_rows(attention: Attention, extent: int) -> int:
    """The same, or fewer where only so the code for the scores fits into the cache: with masks, of deep queries."""
    slices = -(-attention.depth.extent // LANES)
    rows = block_rows(extent)
    if attention.visible is not None or not all(is_uniform(access) for access in attention.outside):
        rows = min(rows, _equal_blocks(extent, BLOCK_ROWS[0]))
    most = max(1, DEEP_PIECES // slices) * PADS
    if slices <= 2 or rows <= most or slices * (3 * most + 2 * LANES) + 3 * most > RESULT_CODE:
        return rows
    return _equal_blocks(extent, most)


def _equal_blocks(extent: int, most: int) -> int:
    """Blocks of equal size, as large as may be; several blocks have a multiple of 4 rows."""
    if extent <= most:
        return extent
    count = -(-extent // most)
    return -(-extent // (PADS * count)) * PADS


def _step_rows(key_tiles: int) -> int:
    return max(PADS, min(MAX_STEP_ROWS, STEP_CHUNKS // key_tiles // PADS * PADS))
