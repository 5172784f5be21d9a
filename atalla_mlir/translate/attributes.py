"""The attributes of a module that `dialects.module_attributes` defines, as plain values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atalla_mlir._mlir import integer_value, ir, string_value
from atalla_mlir.dialects.module_attributes import CONSTANTS, DRAM_BYTES, ENTRIES, LAUNCHES, MACHINE, META
from atalla_mlir.errors import BadInputError


@dataclass(frozen=True)
class Tensor:
    """A tensor of an attribute; `strides` count elements."""

    name: str
    address: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    model_dtype: str
    permutation: tuple[int, ...]
    value: ir.Attribute | None
    image: dict[str, Any] | None = None
    """Where it lies in the pads, of a value that stays there between kernels."""


@dataclass(frozen=True)
class EntryRow:
    """A row of `atalla.entries`."""

    name: str
    function: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    bounds: dict[str, Any] | None
    """What no code for it can go below, as JSON data."""


@dataclass(frozen=True)
class LaunchRow:
    """A row of `atalla.launches`."""

    entry: str
    function: str
    nodes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    others: dict[str, Any]
    """The other fields as JSON data."""


@dataclass(frozen=True)
class ModuleFacts:
    """All attributes of a module."""

    machine: str
    dram_bytes: int
    entries: tuple[EntryRow, ...]
    constants: tuple[Tensor, ...]
    launches: tuple[LaunchRow, ...]
    meta: dict[str, Any]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a tensor without gaps."""
    return tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))


def to_json(attribute: ir.Attribute, where: str) -> Any:
    """Strings, numbers, lists and dictionaries as JSON data."""
    if isinstance(attribute, ir.BoolAttr):
        return attribute.value
    if isinstance(attribute, (ir.IntegerAttr, ir.FloatAttr)):
        return attribute.value
    if isinstance(attribute, ir.StringAttr):
        return string_value(attribute)
    if isinstance(attribute, ir.FlatSymbolRefAttr):
        return attribute.value
    if isinstance(attribute, (ir.DenseI64ArrayAttr, ir.DenseI32ArrayAttr, ir.DenseF64ArrayAttr)):
        return list(attribute)
    if isinstance(attribute, ir.ArrayAttr):
        return [to_json(item, f"{where}[{index}]") for index, item in enumerate(attribute)]
    if isinstance(attribute, ir.DictAttr):
        return {item.name: to_json(item.attr, f"{where}.{item.name}") for item in attribute}
    raise BadInputError(f"{where}: {attribute} has no form in JSON")


_LAUNCH_FIELDS = frozenset({"entry", "function", "nodes", "inputs", "outputs"})


class _Row:
    """A dictionary attribute whose fields are read with errors that say where they are."""

    def __init__(self, attribute: ir.Attribute, where: str) -> None:
        if not isinstance(attribute, ir.DictAttr):
            raise BadInputError(f"{where}: expected a dictionary, got {attribute}")
        self._fields = attribute
        self._where = where

    def get(self, key: str) -> ir.Attribute | None:
        return self._fields[key] if key in self._fields else None  # noqa: SIM401 - it has no get

    def _require(self, key: str) -> ir.Attribute:
        found = self.get(key)
        if found is None:
            raise BadInputError(f"{self._where}: lacks '{key}'")
        return found

    def string(self, key: str, default: str | None = None) -> str:
        found = self.get(key) if default is not None else self._require(key)
        if found is None:
            return default or ""
        if isinstance(found, ir.FlatSymbolRefAttr):
            return found.value
        if not isinstance(found, ir.StringAttr):
            raise BadInputError(f"{self._where}.{key}: expected a string, got {found}")
        return string_value(found)

    def integer(self, key: str) -> int:
        found = self._require(key)
        if not isinstance(found, ir.IntegerAttr):
            raise BadInputError(f"{self._where}.{key}: expected an integer, got {found}")
        return integer_value(found)

    def integers(self, key: str) -> tuple[int, ...]:
        found = self.get(key)
        if found is None:
            return ()
        if isinstance(found, ir.DenseI64ArrayAttr):
            return tuple(found)
        if isinstance(found, ir.ArrayAttr) and all(isinstance(item, ir.IntegerAttr) for item in found):
            return tuple(integer_value(item) for item in found)
        raise BadInputError(f"{self._where}.{key}: expected a list of integers, got {found}")

    def rows(self, key: str) -> tuple[_Row, ...]:
        return _rows(self.get(key), f"{self._where}.{key}")

    def strings(self, key: str) -> tuple[str, ...]:
        found = self.get(key)
        if found is None:
            return ()
        if isinstance(found, ir.ArrayAttr) and all(isinstance(item, ir.StringAttr) for item in found):
            return tuple(string_value(item) for item in found)
        raise BadInputError(f"{self._where}.{key}: expected a list of strings, got {found}")

    def tensor(self) -> Tensor:
        shape, image = self.integers("shape"), self.get("image")
        return Tensor(
            name=self.string("name"),
            address=self.integer("address"),
            dtype=self.string("dtype", "bf16"),
            shape=shape,
            strides=self.integers("strides") if self.get("strides") is not None else row_major(shape),
            model_dtype=self.string("model_dtype", "f32"),
            permutation=self.integers("permutation"),
            value=self.get("value"),
            image=None if image is None else to_json(image, f"{self._where}.image"),
        )

    def tensors(self, key: str) -> tuple[Tensor, ...]:
        return tuple(row.tensor() for row in self.rows(key))

    def entry(self) -> EntryRow:
        function = self.string("function")
        bounds = self.get("bounds")
        return EntryRow(
            self.string("name", function),
            function,
            self.tensors("inputs"),
            self.tensors("outputs"),
            None if bounds is None else to_json(bounds, f"{self._where}.bounds"),
        )

    def launch(self) -> LaunchRow:
        return LaunchRow(
            entry=self.string("entry"),
            function=self.string("function"),
            nodes=self.strings("nodes"),
            inputs=self.tensors("inputs"),
            outputs=self.tensors("outputs"),
            others={
                item.name: to_json(item.attr, f"{self._where}.{item.name}")
                for item in self._fields
                if item.name not in _LAUNCH_FIELDS
            },
        )


def _rows(attribute: ir.Attribute | None, where: str) -> tuple[_Row, ...]:
    if attribute is None:
        return ()
    if not isinstance(attribute, ir.ArrayAttr):
        raise BadInputError(f"{where}: expected a list, got {attribute}")
    return tuple(_Row(item, f"{where}[{index}]") for index, item in enumerate(attribute))


def _meta(attributes: Any) -> dict[str, Any]:
    if META not in attributes:
        return {}
    try:
        meta = json.loads(string_value(attributes[META]))
    except ValueError as error:
        raise BadInputError(f"{META}: {error}") from None
    if not isinstance(meta, dict):
        raise BadInputError(f"{META}: expected a JSON object, got {type(meta).__name__}")
    return meta


def read_attributes(module: ir.Operation) -> ModuleFacts:
    """The attributes of `module`; BadInputError names one that is not as described above."""
    attributes = module.attributes

    def rows(key: str) -> tuple[_Row, ...]:
        return _rows(attributes.get(key, None), key)

    return ModuleFacts(
        machine=string_value(attributes[MACHINE]) if MACHINE in attributes else "ax01",
        dram_bytes=integer_value(attributes[DRAM_BYTES]) if DRAM_BYTES in attributes else 0,
        entries=tuple(row.entry() for row in rows(ENTRIES)),
        constants=tuple(row.tensor() for row in rows(CONSTANTS)),
        launches=tuple(row.launch() for row in rows(LAUNCHES)),
        meta=_meta(attributes),
    )
