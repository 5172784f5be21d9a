"""What was chosen for a loop nest of a kernel, in words and numbers, and choices that a user has fixed.

Whoever plans a nest compares *ways* to lay it out. Each way is described by named fields. A user may fix some of them:
only ways with these values are then compared, so whatever is chosen is one that the planner would have taken by itself,
were it the fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from atalla_mlir.errors import BadInputError

Value = int | str | bool
Fields = Mapping[str, Value]
FORM = "form"
"""The field that says which code is emitted for a nest."""
_SHOWN_VALUES = 24

Way = TypeVar("Way")


class DecisionError(BadInputError):
    """A choice was fixed that the nest does not have."""


@dataclass(frozen=True)
class Decision:
    """`fields` are what can be fixed, besides `form`; `facts` follow from them."""

    form: str
    fields: Fields = field(default_factory=dict[str, Value])
    facts: Fields = field(default_factory=dict[str, Value])
    predicted_cycles: int | None = None
    """Of the nest; None where there is no model of it."""
    ways: int = 1
    """Between which the model chose."""

    def to_json(self) -> dict[str, Any]:
        predicted = {} if self.predicted_cycles is None else {"predicted_cycles": self.predicted_cycles}
        return {FORM: self.form, "fields": dict(self.fields), "facts": dict(self.facts), **predicted, "ways": self.ways}


def allowed(form: str, ways: Iterable[Way], fields: Callable[[Way], Fields], wanted: Fields) -> list[Way]:
    """The ways whose fields are as `wanted`; DecisionError says which values there are when none is.

    No way at all is no error: the nest does not have that form.
    """
    found = list(ways)
    if not wanted or not found:
        return found
    described = [(way, fields(way)) for way in found]
    check_names(form, wanted, described[0][1])
    kept = [way for way, own in described if all(own[name] == value for name, value in wanted.items())]
    if kept:
        return kept
    raise DecisionError(_no_way(form, wanted, [own for _, own in described]))


def fastest(
    form: str,
    ways: Iterable[Way],
    fields: Callable[[Way], Fields],
    cycles: Callable[[Way], float],
    wanted: Fields,
    at_least: Callable[[Way], float] = lambda way: 0.0,
) -> tuple[Way, float, int] | None:
    """Of the ways that are as `wanted` the first that is predicted to take the fewest cycles, these, and how many ways
    there are; None where there is none at all.

    `at_least` are cycles that are found more quickly and that no prediction is below.
    """
    found = allowed(form, ways, fields, wanted)
    best, least = -1, math.inf
    for bound, at in sorted((at_least(way), at) for at, way in enumerate(found)):
        if bound > least:
            break
        predicted = cycles(found[at])
        if best < 0 or (predicted, at) < (least, best):
            best, least = at, predicted
    return None if best < 0 else (found[best], least, len(found))


def check_names(form: str, wanted: Fields, known: Iterable[str]) -> None:
    """DecisionError when a field is fixed that the form does not have."""
    names = list(known)
    unknown = next((name for name in wanted if name not in names), None)
    if unknown is not None:
        there_are = f"it has {', '.join(names)}" if names else "nothing of it can be fixed"
        raise DecisionError(f"a {form} has no field '{unknown}'; {there_are}")


def _no_way(form: str, wanted: Fields, described: list[Fields]) -> str:
    """For each fixed field the values that go with the other fixed ones."""
    parts: list[str] = []
    for name, value in wanted.items():
        others = {key: other for key, other in wanted.items() if key != name}
        values = {own[name] for own in described if all(own[key] == other for key, other in others.items())}
        if value not in values:
            beside = " beside the others" if others else ""
            parts.append(f"{name}={_text(value)} is not possible{beside}: {_listed(values)}")
    return f"no {form} is laid out so: {'; '.join(parts)}"


def _listed(values: set[Value]) -> str:
    if not values:
        return "the others have to change first"
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    dots = [".."] if len(ordered) > _SHOWN_VALUES else []
    return f"it can be {', '.join([*map(_text, ordered[:_SHOWN_VALUES]), *dots])}"


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
