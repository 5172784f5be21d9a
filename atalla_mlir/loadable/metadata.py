"""The JSON description inside a loadable: its canonical text, and checks of the keys that the runtime relies on.

Keys that are not listed here belong to others (the frontend's signature and coverage, for example) and are only
required to be JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from atalla_mlir.loadable.format import Damage, Loadable, LoadableError
from atalla_mlir.target.encoding import PACKET_BYTES


def dump_meta(meta: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no blanks, ASCII; equal data gives equal bytes."""
    try:
        return json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LoadableError(f"the metadata cannot be written as JSON: {error}") from None


def parse_meta(data: memoryview) -> dict[str, Any]:
    """The metadata of a file; its text must be canonical."""
    try:
        meta: object = json.loads(str(data, "utf-8"))
    except UnicodeDecodeError as error:
        raise LoadableError(f"the metadata is not UTF-8 at its byte {error.start}", Damage.CORRUPTED) from None
    except json.JSONDecodeError as error:
        message = f"the metadata is not JSON at its character {error.pos}: {error.msg}"
        raise LoadableError(message, Damage.CORRUPTED) from None
    except (ValueError, RecursionError) as error:
        raise LoadableError(f"the metadata is beyond what JSON readers take: {error}", Damage.CORRUPTED) from None
    if not isinstance(meta, dict):
        raise LoadableError(f"the metadata is a JSON {type(meta).__name__}, not an object", Damage.CORRUPTED)
    if dump_meta(cast("dict[str, Any]", meta)) != bytes(data):
        raise LoadableError("the metadata is not in the canonical form that atalla-mlir writes", Damage.CORRUPTED)
    return cast("dict[str, Any]", meta)


def _fail(where: str, expected: str, value: object) -> LoadableError:
    text = repr(value)
    return LoadableError(f"metadata {where}: expected {expected}, got {text if len(text) <= 60 else text[:57] + '...'}")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _fail(where, "an object", value)
    return cast("Mapping[str, Any]", value)


def _list(value: object, where: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _fail(where, "a list", value)
    return cast("Sequence[Any]", value)


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _fail(where, "a string", value)
    return value


def _natural(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _fail(where, "an integer of at least 0", value)
    return value


def _strings(value: object, where: str) -> None:
    for index, item in enumerate(_list(value, where)):
        _string(item, f"{where}[{index}]")


def _packet(loadable: Loadable, value: object, where: str) -> int:
    pc = _natural(value, where)
    if not loadable.is_packet(pc):
        raise _fail(where, "the address of a packet of the code", value)
    return pc


def _required(row: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in row:
        raise LoadableError(f"metadata {where}: lacks '{key}'")
    return row[key]


def _check_steps(loadable: Loadable, value: object, path: str = "") -> None:
    for index, item in enumerate(_list(value, f"{path}steps")):
        where = f"{path}steps[{index}]"
        step = _object(item, where)
        kind = _required(step, "kind", where)
        if kind not in ("device", "host"):
            raise _fail(f"{where}.kind", "'device' or 'host'", kind)
        _strings(_required(step, "outputs", where), f"{where}.outputs")
        if kind == "host":
            _string(_required(step, "target", where), f"{where}.target")
            continue
        _strings(_required(step, "inputs", where), f"{where}.inputs")
        _check_call(loadable, step, where)


def _check_call(loadable: Loadable, step: Mapping[str, Any], where: str) -> None:
    name = _string(_required(step, "entry", where), f"{where}.entry")
    entry = next((entry for entry in loadable.entries if entry.name == name), None)
    if entry is None:
        raise _fail(f"{where}.entry", "the name of an entry", name)
    for key, specs in (("inputs", entry.inputs), ("outputs", entry.outputs)):
        if len(step[key]) != len(specs):
            raise _fail(f"{where}.{key}", f"{len(specs)} names for entry '{name}'", step[key])


def _check_entry_points(loadable: Loadable, value: object) -> None:
    names: set[str] = set()
    for index, item in enumerate(_list(value, "entry_points")):
        where = f"entry_points[{index}]"
        row = _object(item, where)
        name = _string(_required(row, "name", where), f"{where}.name")
        if name in names:
            raise _fail(f"{where}.name", "a name of its own", name)
        names.add(name)
        _check_steps(loadable, _required(row, "steps", where), f"{where}.")
        for key in ("inputs", "outputs"):
            _strings(_required(row, key, where), f"{where}.{key}")


def _check_kernels(loadable: Loadable, value: object) -> None:
    for index, item in enumerate(_list(value, "kernels")):
        where = f"kernels[{index}]"
        row = _object(item, where)
        for key in ("name", "entry", "function"):
            _string(_required(row, key, where), f"{where}.{key}")
        for key in ("launch_pc", "return_pc"):
            _packet(loadable, _required(row, key, where), f"{where}.{key}")


def _check_functions(loadable: Loadable, value: object) -> None:
    for name, bounds in _object(value, "functions").items():
        where = f"functions.{name}"
        if not name or "\0" in name or any(0xD800 <= ord(letter) < 0xE000 for letter in name):
            raise _fail("functions", "names that a symbol table can hold", name)
        span = _list(bounds, where)
        if len(span) != 2:
            raise _fail(where, "[first PC, PC after the last packet]", bounds)
        start, end = _packet(loadable, span[0], f"{where}[0]"), _natural(span[1], f"{where}[1]")
        segment = loadable.code_segment_of(start)
        if end <= start or end % PACKET_BYTES or segment is None or end > segment.end:
            raise _fail(f"{where}[1]", f"the end of packets from {start:#x} on", span[1])


def _check_source_map(loadable: Loadable, value: object) -> None:
    """`ranges` are [first PC, PC after the last packet, index into `sources`], ascending."""
    table = _object(value, "source_map")
    sources = _list(_required(table, "sources", "source_map"), "source_map.sources")
    _strings(sources, "source_map.sources")
    before = 0
    for index, item in enumerate(_list(_required(table, "ranges", "source_map"), "source_map.ranges")):
        where = f"source_map.ranges[{index}]"
        row = _list(item, where)
        if len(row) != 3:
            raise _fail(where, "[first PC, PC after the last packet, source]", item)
        start, end, source = (_natural(number, where) for number in row)
        if start < before or end <= start or source >= len(sources):
            raise _fail(where, "an ascending range and a source of the table", item)
        before = end


def _check_constants(loadable: Loadable, value: object) -> None:
    for index, item in enumerate(_list(value, "constants")):
        where = f"constants[{index}]"
        row = _object(item, where)
        name = _string(_required(row, "name", where), f"{where}.name")
        if not name or "\0" in name or any(0xD800 <= ord(letter) < 0xE000 for letter in name):
            raise _fail(f"{where}.name", "a name that a symbol table can hold", name)
        address = _natural(_required(row, "address", where), f"{where}.address")
        size = _natural(_required(row, "bytes", where), f"{where}.bytes")
        if address + size > loadable.dram_size:
            raise _fail(where, f"a place in the program's DRAM of {loadable.dram_size} bytes", item)


def _check_machine(loadable: Loadable, value: object) -> None:
    _object(value, "machine")


def _check_names(key: str) -> Callable[[Loadable, object], None]:
    return lambda loadable, value: _strings(value, key)


_CHECKS: dict[str, Callable[[Loadable, object], None]] = {
    "steps": _check_steps,
    "entry_points": _check_entry_points,
    "kernels": _check_kernels,
    "functions": _check_functions,
    "source_map": _check_source_map,
    "constants": _check_constants,
    "inputs": _check_names("inputs"),
    "outputs": _check_names("outputs"),
    "machine": _check_machine,
}


def check_meta(loadable: Loadable) -> None:
    """LoadableError when a key that the runtime relies on is not what docs/loadable.md says."""
    for key, check in _CHECKS.items():
        if key in loadable.meta:
            check(loadable, loadable.meta[key])
