"""Entry points of a loadable: its plans by name, and which of them takes what shapes.

A loadable with one plan has it in its metadata itself, and it is called `main`; one with several has a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atalla_mlir.errors import BadInputError
from atalla_mlir.runtime.buffers import describe

DEFAULT_NAME = "main"


@dataclass(frozen=True)
class EntryPoint:
    """One way to call the program."""

    name: str
    meta: Mapping[str, Any]
    """The metadata about it: `steps`, `inputs`, `outputs`, and what the frontend adds."""

    def part(self, key: str) -> Any:
        """The metadata under `key`; BadInputError when there is none."""
        if key not in self.meta:
            raise BadInputError(f"the loadable has no plan: its metadata lacks '{key}'; run its entries one by one")
        return self.meta[key]

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        return self.part("steps")

    @property
    def device_entries(self) -> tuple[str, ...]:
        """Names of the device functions that it runs."""
        return tuple(step["entry"] for step in self.steps if step["kind"] == "device")

    def shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Input name -> shape; None when the loadable does not say."""
        if "signature" not in self.meta:
            return None
        return {row["name"]: tuple(row["shape"]) for row in self.meta["signature"]["inputs"]}

    def __str__(self) -> str:
        inputs = self.meta["signature"]["inputs"] if "signature" in self.meta else ()
        described = [f"{row['name']}: {describe(_short(row['dtype']), tuple(row['shape']))}" for row in inputs]
        return f"{self.name}({', '.join(described)})"


def _short(dtype: str) -> str:
    return dtype.removeprefix("torch.")


def entry_points(meta: Mapping[str, Any]) -> dict[str, EntryPoint]:
    """The entry points of a loadable with metadata `meta`, in its order."""
    if "entry_points" in meta:
        return {row["name"]: EntryPoint(row["name"], row) for row in meta["entry_points"]}
    return {DEFAULT_NAME: EntryPoint(DEFAULT_NAME, meta)}


def named(points: Mapping[str, EntryPoint], name: str) -> EntryPoint:
    """The entry point called `name`; BadInputError lists what there is."""
    if name not in points:
        raise BadInputError(f"the program has no entry point '{name}'; there are {', '.join(points)}")
    return points[name]


def taking(points: Mapping[str, EntryPoint], shapes: Mapping[str, tuple[int, ...]]) -> EntryPoint:
    """The only entry point whose inputs have these names and shapes; BadInputError lists what there is."""
    if len(points) == 1:
        return next(iter(points.values()))
    found = [point for point in points.values() if point.shapes() == dict(shapes)]
    if len(found) == 1:
        return found[0]
    given = ", ".join(f"{name}[{', '.join(map(str, shape))}]" for name, shape in shapes.items()) or "no inputs"
    raise no_match(found or list(points.values()), given, ambiguous=bool(found))


def no_match(points: Sequence[EntryPoint], given: str, *, ambiguous: bool) -> BadInputError:
    """The error of a call whose arguments fit none of `points`, or all of them."""
    listed = "".join(f"\n  {point}" for point in points)
    if ambiguous:
        return BadInputError(f"several entry points take {given}; choose one by its name:{listed}")
    return BadInputError(f"no entry point takes {given}; the program was compiled for:{listed}")
