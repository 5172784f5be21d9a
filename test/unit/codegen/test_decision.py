"""Choices by named fields: which ways are left, and what errors say."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.decision import DecisionError, Fields, allowed, fastest
from atalla_mlir.codegen.decision_rules import Rule, parse_rules, read_rules
from atalla_mlir.errors import BadInputError

WAYS = [(rows, stays) for rows in (16, 32, 64) for stays in ("rows", "columns") if (rows, stays) != (64, "rows")]


def fields(way: tuple[int, str]) -> Fields:
    return {"rows": way[0], "stays": way[1]}


def test_only_ways_with_fixed_fields_are_left() -> None:
    assert allowed("tile", WAYS, fields, {}) == WAYS
    assert allowed("tile", WAYS, fields, {"stays": "rows"}) == [(16, "rows"), (32, "rows")]
    assert allowed("tile", WAYS, fields, {"stays": "columns", "rows": 64}) == [(64, "columns")]
    assert allowed("tile", [], fields, {"rows": 5}) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"rows": 50}, "rows=50 is not possible: it can be 16, 32, 64"),
        ({"rows": 64, "stays": "rows"}, "rows=64 is not possible beside the others: it can be 16, 32"),
        ({"depth": 1}, "a tile has no field 'depth'; it has rows, stays"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_what_can(wanted: Fields, message: str) -> None:
    with pytest.raises(DecisionError, match=message):
        allowed("tile", WAYS, fields, wanted)


def test_rules_are_matched_by_names_and_shapes() -> None:
    (rule,) = read_rules('[{"kernel": "k?_mm*", "result": "128x*", "fix": {"width": 64}}]')
    assert rule == Rule("k?_mm*", "128x*", None, {"width": 64})
    assert rule.matches(["k0_mm_add", "relu"], [(128, 3072)])
    assert not rule.matches(["k0_bmm"], [(128, 3072)])
    assert not rule.matches(["k0_mm"], [(64, 3072)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"fix": {"width": 1}}, "a list of rules, not a dict"),
        ([{"fix": {}}], r"decisions\[0\].fix: .* at least one field"),
        ([{"fix": {"width": 1.5}}], r"decisions\[0\].fix.width: a value is a number"),
        ([{"fix": {"width": 10**30}}], r"decisions\[0\].fix.width: a value is a number"),
        ([{"fix": {"width": 1}, "nest": -1}], r"decisions\[0\].nest: a loop nest is a number from 0 on, not -1"),
        ([{"fix": {"width": 1}, "kernel": 3}], r"decisions\[0\].kernel: a pattern is a string, not 3"),
        ([{"fix": {"width": 1}, "block": 3}], r"there is no 'block' in a rule; it has kernel, result, nest, fix"),
        ([3], r"decisions\[0\]: a rule is an object"),
    ],
)
def test_wrong_rules_are_named(rows: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        parse_rules(rows)


def test_text_that_is_no_json() -> None:
    with pytest.raises(BadInputError, match="decisions are no JSON"):
        read_rules("[{")


def test_the_first_of_the_fastest_allowed_ways_is_chosen() -> None:
    ways = [(4, 2), (8, 1), (8, 3), (16, 1)]

    def fields(way: tuple[int, int]) -> dict[str, int]:
        return {"width": way[0]}

    def cycles(way: tuple[int, int]) -> float:
        return way[1]

    assert fastest("form", ways, fields, cycles, {}) == ((8, 1), 1, 4)
    assert fastest("form", ways, fields, cycles, {"width": 4}) == ((4, 2), 2, 1)
    assert fastest("form", [], fields, cycles, {"width": 4}) is None


def test_ways_that_cannot_be_faster_are_not_predicted() -> None:
    asked: list[int] = []

    def cycles(way: int) -> float:
        asked.append(way)
        return {1: 9, 2: 5, 3: 5, 4: 8}[way]

    least = {1: 6, 2: 5, 3: 2, 4: 4}
    assert fastest("form", (1, 2, 3, 4), lambda way: {}, cycles, {}, lambda way: least[way]) == (2, 5, 4)
    assert asked == [3, 4, 2]
