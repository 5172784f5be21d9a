"""How an attention is laid over the machine: what its loops take, and what runs beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atalla_mlir.codegen.attention_plan import LANES, AttentionPlan, Blocks, KeyParts, KeyRange
from atalla_mlir.codegen.attention_planning import MAX_KEYS, MAX_PARTS, PAD_ROWS, block_rows, key_parts
from atalla_mlir.codegen.iteration import Loop


def _plan(heads: int, queries: Blocks, keys: int, width: int = 64, *, step_rows: int = 8) -> AttentionPlan:
    query_loop = Loop(queries.extent)
    blocks = Blocks(keys, min(LANES, keys))
    group = ((Loop(heads), heads),)
    return AttentionPlan((), group, queries, blocks, width, width, step_rows, False, query_loop, ())


@pytest.mark.parametrize("keys", [1025, 1056, 1500, 2048, 4096, 8191, 8193, 9001, 16384])
def test_parts_take_each_key_once(keys: int) -> None:
    for parts in key_parts(keys):
        assert parts is not None
        assert parts.size % LANES == 0 and parts.size <= MAX_KEYS and parts.total <= MAX_PARTS
        assert parts.size * parts.count + parts.rest == keys
        assert parts.rest == 0 or LANES <= parts.rest < parts.size


def test_keys_come_in_few_parts_or_in_none() -> None:
    assert list(key_parts(1024)) == [None]
    assert next(key_parts(2048)) == KeyParts(512, 4, 0)
    assert next(key_parts(16384)) == KeyParts(1024, 16, 0)
    assert not list(key_parts(16385))


def test_places_are_as_large_as_the_largest_part_needs() -> None:
    parts = KeyParts(352, 2, 321)
    plan = replace(_plan(2, Blocks(100, 52), 352), parts=parts)
    assert plan.rest is not None and plan.rest.keys == Blocks(321, LANES)
    alone = [replace(each, parts=KeyParts(each.keys.extent, 3, 0)).regions for each in (plan, plan.rest)]
    assert plan.regions == {name: max(each[name] for each in alone) for name in alone[0]}


@pytest.mark.parametrize("rows", [4, 32, 64, 68, 72])
@pytest.mark.parametrize("keys", [1, 31, 32, 64, 128, 197, 512, 1024])
def test_result_loops_take_each_tile_of_keys_once(rows: int, keys: int) -> None:
    plan = _plan(1, Blocks(rows, rows), keys)
    taken = [
        loop.first + number * loop.tiles + tile
        for loop in plan.result_loops
        for number in range(loop.rounds)
        for tile in range(loop.tiles)
    ]
    assert taken == list(range(plan.key_tiles))
    # the last one takes what is loaded once more for each row, and so it stands alone
    assert plan.result_loops[-1].rounds == 1


def test_the_first_of_the_result_loops_takes_what_is_left() -> None:
    assert _plan(12, Blocks(128, 64), 128).result_loops == [KeyRange(0, 1, 1, 2), KeyRange(1, 3, 1)]
    assert _plan(12, Blocks(128, 64), 64).result_loops == [KeyRange(0, 2, 1)]


@pytest.mark.parametrize(("blocks", "together"), [(Blocks(128, 64), 2), (Blocks(256, 64), 2), (Blocks(192, 64), 1)])
def test_a_loop_that_adds_nothing_takes_several_blocks_at_once(blocks: Blocks, together: int) -> None:
    first, *others = _plan(2, blocks, 128).result_loops
    assert (first.tiles, first.blocks) == (1, together)
    assert [loop.blocks for loop in others] == [1]


@pytest.mark.parametrize(
    ("blocks", "width", "together"),
    [
        (Blocks(128, 64), 64, 2),
        (Blocks(192, 64), 64, 1),
        (Blocks(256, 64), 32, 2),
        (Blocks(160, 40), 64, 2),
        (Blocks(197, 100), 64, 1),
        (Blocks(128, 64), 96, 1),
    ],
)
def test_a_tile_of_keys_meets_several_blocks_where_scores_are_at_most_scaled(
    blocks: Blocks, width: int, together: int
) -> None:
    plan = _plan(2, blocks, 128, width)
    assert plan.score_blocks == 1 and plan.score_iterations == blocks.count * plan.key_tiles
    plain = replace(plan, scalings=0)
    assert plain.score_blocks == together
    assert plain.score_iterations * together == plan.score_iterations


def test_scores_of_several_blocks_are_code_that_fits_the_cache() -> None:
    scaled = replace(_plan(2, Blocks(128, 64), 128), scalings=1)
    assert scaled.score_blocks == 1
    # nothing comes beside the loop
    assert replace(scaled, found=frozenset({"queries", "keys"})).score_blocks == 2
    assert replace(scaled, scalings=0).score_blocks == 2


def test_values_are_turned_beside_the_softmax_where_it_has_a_step_for_each_tile() -> None:
    assert _plan(12, Blocks(128, 64), 128, step_rows=16).turns_beside
    assert not _plan(12, Blocks(8, 8), 1024, step_rows=4).turns_beside


def test_whole_rows_share_places() -> None:
    """Results take the place of queries and turned values that of values; a width of half a slice has zeros to keep."""
    whole, half = _plan(12, Blocks(128, 64), 128), _plan(12, Blocks(128, 64), 128, 48)
    assert whole.turns_in_place and whole.query_rows == whole.result_rows
    assert not half.turns_in_place
    assert half.pad_rows > whole.pad_rows + half.result_rows + half.turned_rows - LANES


def test_a_tight_plan_keeps_values_in_the_place_of_keys() -> None:
    """All heads of ViT-B/16 fit into the pads that way only."""
    plan = _plan(12, Blocks(197, 100), 197)
    tight = replace(plan, is_tight=True)
    assert tight.pad_rows <= PAD_ROWS < plan.pad_rows
    saved = plan.group_value_rows + plan.group_key_rows - tight.group_key_rows
    assert plan.pad_rows - tight.pad_rows == saved + (plan.sum_steps - tight.sum_steps) * plan.step_sums


def test_rounded_additions_of_a_row() -> None:
    """The array rounds once; up to eight chunks are then added in a tree, more by the lanes."""
    roundings = {keys: _plan(1, Blocks(8, 8), keys).total_roundings for keys in (32, 64, 128, 256, 1024)}
    assert roundings == {32: 1, 64: 2, 128: 3, 256: 4, 1024: 3}


def test_blocks_are_long_where_that_saves_much() -> None:
    assert {extent: block_rows(extent) for extent in (7, 72, 100, 128, 197, 256)} == {
        7: 7,
        72: 72,
        100: 100,
        128: 64,
        197: 100,
        256: 64,
    }
