"""Constants that are triangles of booleans are recognised, others are not."""

from __future__ import annotations

import pytest
import torch

from atalla_mlir.frontend.triangles import triangle


@pytest.mark.parametrize("diagonal", [-3, 0, 2])
@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (1, 1, 6, 7)])
def test_triangles(shape: tuple[int, ...], diagonal: int) -> None:
    lower = torch.ones(shape, dtype=torch.bool).tril(diagonal)
    assert triangle(lower) == (diagonal, True)
    assert triangle(~lower) == (diagonal, False)


def test_what_is_no_triangle() -> None:
    lower = torch.ones(6, 6, dtype=torch.bool).tril()
    other = lower.clone()
    other[2, 5] = True
    for value in (
        other,
        lower.flip(1),
        lower.float(),
        lower.expand(2, 6, 6),
        torch.ones(6, 6, dtype=torch.bool),
        torch.zeros(6, 6, dtype=torch.bool),
        torch.ones(6, dtype=torch.bool),
    ):
        assert triangle(value) is None
