"""Choices that a user fixes, as a list of rules in JSON.

    [{"kernel": "k0_linear*", "result": "128x3072", "nest": 0, "fix": {"form": "tiled product", "width": 64}}]

A rule is about the kernels whose function or one of whose graph nodes matches `kernel`, and one of whose results has
the shape `result` (both patterns with `*` and `?`; default: any). `fix` gives fields values (`codegen.decision`), of
one loop nest of a kernel that has several, or of all. Of two rules about the same field the later one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

from atalla_mlir.codegen.decision import Fields, Value
from atalla_mlir.errors import BadInputError

_KEYS = ("kernel", "result", "nest", "fix")

_MOST = (1 << 63) - 1
"""An attribute of a function holds no larger number."""


@dataclass(frozen=True)
class Rule:
    """`fix` for what matches `kernel` and `result`; `nest` is None for all loop nests."""

    kernel: str = "*"
    result: str = "*"
    nest: int | None = None
    fix: Fields = field(default_factory=dict[str, Value])

    def matches(self, names: Iterable[str], results: Iterable[Sequence[int]]) -> bool:
        return any(fnmatchcase(name, self.kernel) for name in names) and any(
            fnmatchcase(shape_text(shape), self.result) for shape in results
        )

    def __str__(self) -> str:
        return f"kernel '{self.kernel}', result '{self.result}'"


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def read_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a JSON text; BadInputError says what is wrong with it."""
    try:
        return parse_rules(json.loads(text))
    except ValueError as error:
        raise BadInputError(f"decisions are no JSON: {error}") from None


def parse_rules(rows: object) -> tuple[Rule, ...]:
    """The rules of JSON data."""
    if not isinstance(rows, (list, tuple)):
        raise BadInputError(f"decisions are a list of rules, not a {type(rows).__name__}")
    return tuple(_rule(row, at) for at, row in enumerate(cast("Sequence[object]", rows)))


def _rule(row: object, at: int) -> Rule:
    where = f"decisions[{at}]"
    if not isinstance(row, Mapping):
        raise BadInputError(f"{where}: a rule is an object, not a {type(row).__name__}")
    fields = cast("Mapping[str, Any]", row)
    unknown = next((key for key in fields if key not in _KEYS), None)
    if unknown is not None:
        raise BadInputError(f"{where}: there is no '{unknown}' in a rule; it has {', '.join(_KEYS)}")
    for key in ("kernel", "result"):
        if not isinstance(fields.get(key, ""), str):
            raise BadInputError(f"{where}.{key}: a pattern is a string, not {fields[key]!r}")
    nest, fix = fields.get("nest"), fields.get("fix")
    if nest is not None and (not isinstance(nest, int) or isinstance(nest, bool) or nest < 0):
        raise BadInputError(f"{where}.nest: a loop nest is a number from 0 on, not {nest!r}")
    if not isinstance(fix, Mapping) or not fix:
        raise BadInputError(f"{where}.fix: the fields to fix are an object with at least one field")
    values = cast("Mapping[str, Any]", fix)
    for name, value in values.items():
        if not isinstance(value, (int, str)) or (isinstance(value, int) and abs(value) > _MOST):
            raise BadInputError(f"{where}.fix.{name}: a value is a number, a string, true or false, not {value!r}")
    return Rule(fields.get("kernel", "*"), fields.get("result", "*"), nest, dict(values))
