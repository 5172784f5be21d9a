"""Kernels of a module that were compiled before.

After the stage "fuse" every kernel is a private function of linalg operations, and what the later stages make of it
depends on nothing else in the module. Of a known one only the declaration stays, which callers need, and its object
code is put in before the last stage. Entry functions are looked up likewise before they are scheduled. Code that was
compiled is stored when the last stage is done.

Names and source positions are not part of a key: an entry refers to the locations of the function that it was made
from by number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from atalla_mlir import pipeline
from atalla_mlir._mlir import Sources, create_op, ir, operations, string_value
from atalla_mlir.cache.identity import compiler_digest
from atalla_mlir.cache.store import Store
from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import ObjectCode
from atalla_mlir.firmware.objects import object_from_bytes, object_to_bytes
from atalla_mlir.translate.functions import IN_OBJECT, function_object, has_object_code, make_object_function

_SIGNATURE = ("sym_name", "sym_visibility", "function_type")
"""Attributes of a declaration that the kernel has before it is compiled."""


@dataclass(frozen=True)
class _Unknown:
    """A function that has to be compiled, and where its code will be stored."""

    key: str
    sources: tuple[str | None, ...]
    """Its source positions, in the order in which they first occur."""


@dataclass(frozen=True)
class _Known:
    """A function whose code was found, with the text of the attributes that reports want."""

    code: ObjectCode
    attributes: str
    location: ir.Location


@dataclass
class KernelCache:
    """Follows one run of `pipeline.lower_module`: `after_stage` is its argument of this name."""

    store: Store
    options: pipeline.Options
    _order: list[str] = field(default_factory=list[str])
    """All functions of the module."""
    _unknown: dict[str, _Unknown] = field(default_factory=dict[str, _Unknown])
    _known: dict[str, _Known] = field(default_factory=dict[str, _Known])
    _declarations: dict[str, str] = field(default_factory=dict[str, str])
    """Text of the attributes that compiling adds to a kernel's declaration."""
    _sources: Sources = field(default_factory=Sources)

    def after_stage(self, stage: str, module: ir.Module) -> None:
        with module.context:
            match stage:
                case "fuse":
                    functions = operations(module.operation, "func.func")
                    self._order = [_name(function) for function in functions]
                    self._look_up([function for function in functions if _is_kernel(function)], stage)
                case "tile":
                    self._note_declarations(module)
                case "lower":
                    functions = operations(module.operation, "ax01.func")
                    finished = {*self._declarations, *(_name(item) for item in functions if has_object_code(item))}
                    self._look_up([item for item in functions if _name(item) not in finished], stage)
                    self._insert_known(module)
                case "schedule":
                    self._save(module)
                case _:
                    pass

    def _look_up(self, functions: Sequence[ir.Operation], stage: str) -> None:
        """Take those functions out whose code is known; of kernels the declaration stays."""
        remaining = _pipelines_after(stage, self.options)
        for function in functions:
            name = _name(function)
            text, sources = _content(function, self._sources)
            key = self._key(remaining, text)
            value = self.store.get(key)
            found = _unpack(name, value, sources) if value is not None else None
            if found is None:
                self._unknown[name] = _Unknown(key, sources)
                continue
            declared, attributes, code = found
            self._known[name] = _Known(code, attributes, function.location)
            if _is_kernel(function):
                self._declarations[name] = declared
                _declare(function, declared)
            function.erase()

    def _key(self, remaining: str, text: str) -> str:
        parts = (compiler_digest(), self.options.machine.digest(), remaining, text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _note_declarations(self, module: ir.Module) -> None:
        for function in operations(module.operation, "func.func"):
            name = _name(function)
            if name in self._unknown:
                self._declarations[name] = _attribute_text(function, without=_SIGNATURE)

    def _insert_known(self, module: ir.Module) -> None:
        """Put known functions where the module would have them."""
        present = {_name(function): function for function in operations(module.operation, "ax01.func")}
        ip = ir.InsertionPoint(module.body)
        for name in reversed(self._order):
            known = self._known.get(name)
            function = present.get(name)
            if known is not None:
                function = make_object_function(known.code, ip, known.location)
                _add_attributes(function, known.attributes)
            if function is not None:
                ip = ir.InsertionPoint(function)

    def _save(self, module: ir.Module) -> None:
        for function in operations(module.operation, "ax01.func"):
            unknown = self._unknown.get(_name(function))
            if unknown is None:
                continue
            declared = self._declarations.get(_name(function), "{}")
            value = _pack(function, self._sources, declared, unknown)
            if value is not None:
                self.store.put(unknown.key, value)
        self.store.trim()


def _is_kernel(function: ir.Operation) -> bool:
    return "sym_visibility" in function.attributes and bool(function.regions[0].blocks)


def _declare(function: ir.Operation, attributes: str) -> None:
    """The declaration of a kernel as compiling it would leave it."""
    with ir.InsertionPoint(function), function.location:
        signature = {key: function.attributes[key] for key in _SIGNATURE}
        _add_attributes(create_op("func.func", [], [], signature, regions=1), attributes)


def _name(function: ir.Operation) -> str:
    return string_value(function.attributes["sym_name"])


def _pipelines_after(stage: str, options: pipeline.Options) -> str:
    stages = pipeline.stages(options)
    names = [item.name for item in stages]
    return ";".join(item.pipeline() for item in stages[names.index(stage) + 1 :])


def _content(function: ir.Operation, sources: Sources) -> tuple[str, tuple[str | None, ...]]:
    """The function as text in which it has no name and its source positions are numbers; the positions by number."""
    name = f"@{_name(function)}"
    text = function.get_asm(enable_debug_info=False, use_local_scope=True).replace(name, "@", 1)
    numbers: dict[str | None, int] = {}
    order = [numbers.setdefault(sources.text(op.location), len(numbers)) for op in operations(function)]
    return f"{text}\n{order}", tuple(numbers)


def _attribute_text(op: ir.Operation, *, without: tuple[str, ...]) -> str:
    kept = {name: op.attributes[name] for name in op.attributes if name not in without}
    return str(ir.DictAttr.get(kept))


def _add_attributes(op: ir.Operation, text: str) -> None:
    for item in ir.DictAttr(ir.Attribute.parse(text)):
        op.attributes[item.name] = item.attr


def _pack(function: ir.Operation, sources: Sources, declared: str, unknown: _Unknown) -> bytes | None:
    """The value of an entry; None when the code has a source position that the function did not have."""
    code = function_object(function, sources)
    numbers = {source: str(number) for number, source in enumerate(unknown.sources)}
    if any(source not in numbers for source in code.sources):
        return None
    numbered = dataclasses.replace(code, sources=tuple(numbers[source] for source in code.sources))
    header = {"declaration": declared, "function": _attribute_text(function, without=IN_OBJECT)}
    return json.dumps(header).encode() + b"\n" + object_to_bytes(numbered)


def _unpack(name: str, value: bytes, sources: tuple[str | None, ...]) -> tuple[str, str, ObjectCode] | None:
    """Attributes of the declaration, of the function, and the code; None when the value is not that."""
    header, _, data = value.partition(b"\n")
    try:
        code = object_from_bytes(name, data)
        fields = json.loads(header)
        positions = tuple(sources[int(number)] for number in code.sources if number is not None)
        return fields["declaration"], fields["function"], dataclasses.replace(code, sources=positions)
    except (BadInputError, ValueError, KeyError, IndexError, TypeError):
        return None
