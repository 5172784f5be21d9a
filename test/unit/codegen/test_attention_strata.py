"""Which tiles of keys are computed where a mask hides keys: all that somebody sees, and each once."""

from __future__ import annotations

from itertools import accumulate

import pytest

from atalla_mlir.codegen.attention_strata import (
    SpanLimits,
    StepLimits,
    Stratum,
    VisibleTiles,
    steady_step,
    visible_tiles,
    with_spans,
)

LIMITS = StepLimits(rows=16, chunks=88, pads=4)
SPANS = SpanLimits(code=1070, rows=300, head_rows=32)


def _visible(firsts: list[int], size: int, tiles: int, reach: int = 0) -> VisibleTiles:
    found = visible_tiles(firsts, size, tiles, reach, LIMITS)
    assert found is not None
    return found


def test_causal_rows_in_blocks_of_64() -> None:
    found = _visible([0, 64], 64, 4)
    assert found.blocks == (2, 4)
    assert found.strata == (Stratum(0, 1, 4), Stratum(8, 2, 4), Stratum(16, 3, 4), Stratum(24, 4, 4))
    assert (found.rows, found.step_rows) == (8, 1)
    assert found.points == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("firsts", "size", "tiles", "reach"),
    [
        ([0], 64, 2, 0),
        ([0, 48], 52, 4, 0),
        ([0, 68, 129], 68, 7, 0),
        ([0, 64, 128, 192], 64, 8, 0),
        ([0, 64], 64, 4, -7),
        ([0, 60], 68, 5, 30),
    ],
)
def test_every_query_has_the_tiles_that_it_sees(firsts: list[int], size: int, tiles: int, reach: int) -> None:
    found = _visible(firsts, size, tiles, reach)
    piece = -(-size // 4)
    assert len(found.row_tiles) == len(firsts) * piece
    for place, computed in enumerate(found.row_tiles):
        block, row = divmod(place, piece)
        for query in range(firsts[block] + 4 * row, firsts[block] + min(4 * row + 4, size)):
            keys = min(max(query + reach + 1, 0), 32 * tiles)
            assert 32 * computed >= keys
        assert 1 <= computed <= found.blocks[block] <= tiles


def test_steps_take_equally_many_rows_of_all_strata() -> None:
    for firsts, size, tiles in (([0], 64, 2), ([0, 64], 64, 4), ([0, 64, 128, 192], 64, 8)):
        found = _visible(firsts, size, tiles)
        assert found.rows % found.step_rows == 0
        assert 4 * found.step_rows * len(found.strata) <= LIMITS.rows
        assert 4 * found.step_rows * sum(stratum.tiles for stratum in found.strata) <= LIMITS.chunks


def test_nothing_is_left_out_where_all_is_seen_or_a_step_would_be_too_long() -> None:
    assert visible_tiles([0], 64, 2, 64, LIMITS) is None
    assert visible_tiles([0], 32, 1, 0, LIMITS) is None
    assert visible_tiles(list(range(0, 512, 64)), 64, 16, 0, LIMITS) is None


@pytest.mark.parametrize("reach", [-40, 0, 20])
def test_spans_take_each_tile_once_and_complete_each_row_once(reach: int) -> None:
    found = with_spans(_visible([0, 64], 64, 4, reach), SPANS, 4)
    assert [tile for span in found.spans for tile in range(span.first, span.end)] == list(range(max(found.blocks)))
    done = [row for span in found.spans for row in range(span.done_from, span.done_to)]
    assert done == list(range(len(found.row_tiles)))
    for span in found.spans:
        for row in range(span.done_from, span.done_to):
            assert span.first < found.row_tiles[row] <= span.end
    # nothing reads what nobody has computed
    assert all(stratum.cleared == 0 for stratum in found.strata)


def test_rows_of_a_long_head_are_not_taken_at_once() -> None:
    found = _visible([0, 64, 128, 192], 64, 8)
    assert with_spans(found, SPANS, 4) is found


@pytest.mark.parametrize("places", [[5], [0, 64, 128], [0, 1, 64, 65, 66, 67], [0, 0, -1], [7, 3, 3, 9, 15, 21]])
def test_places_follow_from_their_steps(places: list[int]) -> None:
    usual, others = steady_step(places)
    extra = dict(others)
    steps = (usual + extra.get(at, 0) for at in range(1, len(places)))
    assert list(accumulate(steps, initial=places[0])) == places


def test_the_most_frequent_step_is_the_usual_one() -> None:
    assert steady_step([0, 1, 64, 65, 66, 67]) == (1, [(2, 62)])
