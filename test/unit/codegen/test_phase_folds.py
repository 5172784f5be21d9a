"""Folds of chunks two by two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from atalla_mlir.kernels.folds import PairwiseFold, fold_depth


@dataclass(frozen=True)
class Term:
    """Which values a fold has combined, and how often the one that was combined most often was."""

    members: frozenset[int]
    depth: int

    def __add__(self, other: Term) -> Term:
        assert not self.members & other.members
        return Term(self.members | other.members, 1 + max(self.depth, other.depth))


@pytest.mark.parametrize("count", range(1, 41))
def test_every_value_is_folded_once_and_few_times(count: int) -> None:
    fold = PairwiseFold(cast("Any", Term.__add__))
    for number in range(count):
        fold.add(cast("Any", Term(frozenset([number]), 0)))
    total = cast("Any", fold.total())
    assert total.members == frozenset(range(count))
    assert total.depth <= fold_depth(count)
