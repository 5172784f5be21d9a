"""The parameter set that a loadable was compiled for, by name and digest or by its values in `meta.machine`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from atalla_mlir.errors import BadInputError
from atalla_mlir.loadable.format import Damage, Loadable, LoadableError
from atalla_mlir.target.machine import MACHINES, Machine


def machine_of(loadable: Loadable) -> Machine:
    """The parameter set that `loadable` was compiled for; WRONG_MACHINE when this version cannot know it."""
    known = MACHINES.get(loadable.machine_name)
    if known is not None and known.digest() == loadable.machine_digest:
        return known
    described = _described_machine(loadable)
    if described is not None and described.digest() == loadable.machine_digest:
        return described
    what = "has other values here" if known is not None else "is not known here"
    raise LoadableError(
        f"the loadable was compiled for machine '{loadable.machine_name}', which {what}; compile the model again",
        Damage.WRONG_MACHINE,
    )


def describe_machine(machine: Machine) -> dict[str, Any]:
    """The parameters that differ from those of the default set, as JSON data for `meta.machine`."""
    default = Machine()
    changed = {field.name: getattr(machine, field.name) for field in fields(Machine)}
    return {name: getattr(value, "value", value) for name, value in changed.items() if value != getattr(default, name)}


def _described_machine(loadable: Loadable) -> Machine | None:
    described = loadable.meta.get("machine")
    if described is None:
        return None
    default = Machine()
    try:
        values = {name: type(getattr(default, name))(value) for name, value in described.items()}
        return Machine(**values)
    except (AttributeError, TypeError, ValueError, BadInputError):
        return None
