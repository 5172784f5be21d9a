"""Results of entry functions that are the new content of a state argument."""

from __future__ import annotations

from atalla_mlir._mlir import ir, string_value
from atalla_mlir.dialects.module_attributes import STATE_KIND, UPDATES
from atalla_mlir.errors import InternalError


def state_results(function: ir.Operation) -> dict[int, int]:
    """Number of a result of `function` -> number of the state argument whose new content it is."""
    arguments = {
        string_value(item["atalla.name"]): at
        for at, item in enumerate(_dictionaries(function, "arg_attrs"))
        if "atalla.kind" in item and string_value(item["atalla.kind"]) == STATE_KIND
    }
    found: dict[int, int] = {}
    for at, item in enumerate(_dictionaries(function, "res_attrs")):
        if UPDATES not in item:
            continue
        name = string_value(item[UPDATES])
        if name not in arguments:
            raise InternalError(f"result {at} is to update '{name}', which is no state argument of the function")
        found[at] = arguments[name]
    return found


def _dictionaries(function: ir.Operation, key: str) -> list[ir.DictAttr]:
    return [ir.DictAttr(item) for item in ir.ArrayAttr(function.attributes[key])] if key in function.attributes else []
