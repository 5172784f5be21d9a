"""The passes and the registry of their names. A pass module is imported when its pass is first asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from atalla_mlir.errors import BadInputError

if TYPE_CHECKING:
    from atalla_mlir.passes.base import Pass

__all__ = ["PASSES", "find_pass", "is_pass", "load_plugin", "pass_names", "plugin_arguments", "register_pass"]

# name -> "module:Class", in the order of the flow
PASSES: dict[str, str] = {
    "atalla-demote-floats": "atalla_mlir.passes.demote_floats:DemoteFloatsPass",
    "atalla-assign-layouts": "atalla_mlir.passes.assign_layouts:AssignLayoutsPass",
    "atalla-pack-constants": "atalla_mlir.passes.pack_constants:PackConstantsPass",
    "atalla-turn-operands": "atalla_mlir.passes.turn_operands:TurnOperandsPass",
    "atalla-form-kernels": "atalla_mlir.passes.form_kernels:FormKernelsPass",
    "atalla-fix-decisions": "atalla_mlir.passes.fix_decisions:FixDecisionsPass",
    "atalla-keep-images": "atalla_mlir.passes.keep_images:KeepImagesPass",
    "atalla-fetch-ahead": "atalla_mlir.passes.fetch_ahead:FetchAheadPass",
    "atalla-plan-memory": "atalla_mlir.passes.plan_memory:PlanMemoryPass",
    "convert-linalg-to-atalla": "atalla_mlir.passes.convert_linalg_to_atalla:ConvertLinalgToAtallaPass",
    "atalla-place-tiles": "atalla_mlir.passes.place_tiles:PlaceTilesPass",
    "convert-atalla-to-ax01": "atalla_mlir.passes.convert_atalla_to_ax01:ConvertAtallaToAx01Pass",
    "atalla-emit-packets": "atalla_mlir.passes.emit_packets:EmitPacketsPass",
}

_extra: dict[str, type[Pass]] = {}
_plugins: list[str] = []


def pass_names() -> tuple[str, ...]:
    """Names of all passes: ours in the order of the flow, then those that were registered at run time."""
    return (*PASSES, *_extra)


def is_pass(name: str) -> bool:
    return name in PASSES or name in _extra


def find_pass(name: str) -> type[Pass]:
    """The pass class called `name`; BadInputError proposes similar names when there is none."""
    if name in _extra:
        return _extra[name]
    if name not in PASSES:
        similar = difflib.get_close_matches(name, pass_names(), n=3)
        hint = f"; did you mean {' or '.join(similar)}" if similar else ""
        raise BadInputError(f"no pass '{name}'{hint}")
    module, _, class_name = PASSES[name].partition(":")
    return getattr(importlib.import_module(module), class_name)


def register_pass(pass_class: type[Pass]) -> type[Pass]:
    """Add a pass that is not part of this package; usable as a decorator. BadInputError when its name is taken."""
    known = _extra.get(pass_class.name)
    if pass_class.name in PASSES or (known is not None and known is not pass_class):
        raise BadInputError(f"there is a pass '{pass_class.name}' already")
    _extra[pass_class.name] = pass_class
    return pass_class


def load_plugin(module: str) -> None:
    """Import `module`, a dotted name, whose passes register themselves with `register_pass`."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BadInputError(f"cannot load pass plugin '{module}': {error}") from error
    if module not in _plugins:
        _plugins.append(module)


def plugin_arguments() -> tuple[str, ...]:
    """The command-line arguments of `atalla-opt` that load the same plugins."""
    return tuple(f"--load-pass-plugin={module}" for module in _plugins)
