"""The only door to the MLIR bindings, and to what they lack.

Re-exports the parts of torch-mlir's wheel that this package uses and adds fast paths for building and reading IR.
Building through `create_op` costs about 1 us per operation, through an operation's own class ten times as much.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch_mlir.dialects
from torch_mlir import _mlir_libs, ir, rewrite
from torch_mlir._mlir_libs._mlir import globals as _bindings
from torch_mlir.dialects import arith, builtin, ext, func, irdl, linalg, math, memref, scf, tensor
from torch_mlir.passmanager import PassManager

__all__ = [
    "DIALECTS",
    "AffineForm",
    "PassManager",
    "Sources",
    "affine_forms",
    "arith",
    "array_attr",
    "bool_attr",
    "builtin",
    "bytecode",
    "context",
    "create_op",
    "dense_to_numpy",
    "dialect_names",
    "ext",
    "f32_attr",
    "file_position",
    "func",
    "functions",
    "fused_location",
    "i32_attr",
    "i64_array_attr",
    "i64_attr",
    "indexing_forms",
    "integer_value",
    "ir",
    "irdl",
    "linalg",
    "location_names",
    "math",
    "memref",
    "name_location",
    "numpy_to_dense",
    "operations",
    "rewrite",
    "scalar_constant",
    "scf",
    "string_attr",
    "string_value",
    "symbol_attr",
    "tensor",
    "walk",
]

DIALECT_PACKAGE = "atalla_mlir.dialects"
DIALECTS = ("atalla", "ax01")
"""Our dialects; each is the module of that name in `DIALECT_PACKAGE` with a function `load()`."""

# Without the prefix every operation and type look-up of our dialects is a failed import, fifty times as slow.
_bindings.append_dialect_search_prefix(DIALECT_PACKAGE)


def context(*, allow_unregistered_dialects: bool = False) -> ir.Context:
    """A new context in which upstream's, torch-mlir's and our dialects are loaded."""
    new = ir.Context()
    new.allow_unregistered_dialects = allow_unregistered_dialects
    _register_torch_dialects(new)
    with new:
        for name in DIALECTS:
            importlib.import_module(f"{DIALECT_PACKAGE}.{name}").load()
    return new


def dialect_names() -> tuple[str, ...]:
    """The dialects that a new context reads, ours first; the bindings only tell whether a given one is loaded."""
    with_bindings = {module.name for module in pkgutil.iter_modules(torch_mlir.dialects.__path__)}
    loaded = context()
    upstream = sorted(name for name in with_bindings | {"tm_tensor", "torch_c"} if loaded.is_dialect_loaded(name))
    return (*DIALECTS, *upstream)


def _register_torch_dialects(new: ir.Context) -> None:
    from torch_mlir.dialects import torch as torch_dialect  # the dialect's bindings, not PyTorch

    torch_dialect.register_dialect(new)
    with new, ir.Location.unknown():
        # a pass manager loads what its passes depend on: the bindings cannot name tm_tensor and torch_c
        loader = PassManager.parse("builtin.module(func.func(convert-torch-to-tmtensor))")
        loader.run(ir.Module.create().operation)


# Building


def create_op(
    name: str,
    results: Sequence[ir.Type] = (),
    operands: Sequence[ir.Value] = (),
    attributes: dict[str, ir.Attribute] | None = None,
    loc: ir.Location | None = None,
    *,
    regions: int = 0,
    ip: ir.InsertionPoint | None = None,
) -> ir.Operation:
    """Create operation `name` at `ip` with location `loc`; both default to the current ones."""
    return ir.Operation.create(name, results, operands, attributes, None, regions, loc, ip)


def i32_attr(value: int) -> ir.IntegerAttr:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(32), value)


def i64_attr(value: int) -> ir.IntegerAttr:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def f32_attr(value: float) -> ir.FloatAttr:
    return ir.FloatAttr.get(ir.F32Type.get(), value)


def bool_attr(value: bool) -> ir.BoolAttr:
    return ir.BoolAttr.get(value)


def string_attr(value: str) -> ir.StringAttr:
    return ir.StringAttr.get(value)


def symbol_attr(name: str) -> ir.FlatSymbolRefAttr:
    return ir.FlatSymbolRefAttr.get(name)


def array_attr(values: Sequence[ir.Attribute]) -> ir.ArrayAttr:
    return ir.ArrayAttr.get(list(values))


def i64_array_attr(values: Sequence[int]) -> ir.DenseI64ArrayAttr:
    return ir.DenseI64ArrayAttr.get(list(values))


# Reading


def bytecode(module: ir.Module) -> bytes:
    """`module` in MLIR's binary form, which `ir.Module.parse` reads too."""
    stream = io.BytesIO()
    module.operation.write_bytecode(stream)
    return stream.getvalue()


def integer_value(attribute: ir.Attribute) -> int:
    """The value of an integer attribute; TypeError for any other attribute."""
    if isinstance(attribute, ir.IntegerAttr):  # most are of their own class already
        return attribute.value
    concrete = attribute.maybe_downcast()
    if isinstance(concrete, (ir.IntegerAttr, ir.BoolAttr)):
        return int(concrete.value)
    raise TypeError(f"expected an integer attribute, got {attribute}")


def string_value(attribute: ir.Attribute) -> str:
    """The text of a string attribute or the name of a flat symbol reference; TypeError for any other attribute."""
    concrete = attribute.maybe_downcast()
    if isinstance(concrete, (ir.StringAttr, ir.FlatSymbolRefAttr)):
        return concrete.value
    raise TypeError(f"expected a string attribute, got {attribute}")


def scalar_constant(value: ir.Value) -> int | float | bool | None:
    """The Python number that `value` is known to be: an `arith.constant` of a scalar or of a splat; None otherwise."""
    if not isinstance(value, ir.OpResult):
        return None
    owner = value.owner
    if owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"].maybe_downcast()
    if isinstance(attribute, ir.DenseElementsAttr):
        if not attribute.is_splat:
            return None
        attribute = attribute.get_splat_value().maybe_downcast()
    if isinstance(attribute, (ir.IntegerAttr, ir.FloatAttr, ir.BoolAttr)):
        return attribute.value
    return None


def walk(
    root: ir.Operation, visit: Callable[[ir.Operation], object], name: str | None = None, *, post_order: bool = True
) -> None:
    """Call `visit` on each operation below and including `root` (those called `name`, if given). `visit` must not erase
    anything but the operation that it got, and that only in post order; to change more, collect with `operations`."""

    def callback(op: ir.Operation) -> ir.WalkResult:
        if name is None or op.name == name:
            visit(op)
        return ir.WalkResult.ADVANCE

    root.walk(callback, ir.WalkOrder.POST_ORDER if post_order else ir.WalkOrder.PRE_ORDER)


def operations(root: ir.Operation, *names: str) -> list[ir.Operation]:
    """All operations below and including `root` in program order (only those called one of `names`, if given)."""
    found: list[ir.Operation] = []
    wanted = frozenset(names)

    def callback(op: ir.Operation) -> ir.WalkResult:
        if not wanted or op.name in wanted:
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(callback, ir.WalkOrder.PRE_ORDER)
    return found


def functions(module: ir.Operation, name: str) -> list[ir.Operation]:
    """The operations directly in a module that are called `name`; their bodies are not looked through."""
    blocks = (block for region in module.regions for block in region.blocks)
    return [op.operation for block in blocks for op in block.operations if op.operation.name == name]


# Affine maps


@dataclass(frozen=True)
class AffineForm:
    """One result of an affine map: sum of `coefficients[d] * d` over all loop dims, plus `offset`."""

    coefficients: tuple[int, ...]
    offset: int

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """The dims that take part."""
        return tuple(dim for dim, coefficient in enumerate(self.coefficients) if coefficient)

    @cached_property
    def single_dim(self) -> int | None:
        """The dim `d` when the form is exactly `d`, else None."""
        dims = self.dims
        return dims[0] if len(dims) == 1 and not self.offset and self.coefficients[dims[0]] == 1 else None


def affine_forms(affine_map: ir.AffineMap) -> tuple[AffineForm, ...] | None:
    """Each result of `affine_map` as a form; None when a result is not linear (floordiv, mod) or uses a symbol."""
    forms: list[AffineForm] = []
    for expression in affine_map.results:
        terms = _linear_terms(expression, affine_map.n_dims)
        if terms is None:
            return None
        forms.append(AffineForm(tuple(terms[:-1]), terms[-1]))
    return tuple(forms)


def indexing_forms(op: ir.Operation) -> tuple[tuple[AffineForm, ...] | None, ...]:
    """The forms of each of a linalg operation's `indexing_maps`, in operand order."""
    maps = ir.ArrayAttr(op.attributes["indexing_maps"])
    return tuple(affine_forms(ir.AffineMapAttr(attribute).value) for attribute in maps)


def _linear_terms(expression: ir.AffineExpr, num_dims: int) -> list[int] | None:
    """Coefficient of each dim, then the constant; None when `expression` is not linear in the dims."""
    concrete: Any = expression.maybe_downcast()
    terms = [0] * (num_dims + 1)
    if isinstance(concrete, ir.AffineConstantExpr):
        terms[-1] = concrete.value
        return terms
    if isinstance(concrete, ir.AffineDimExpr):
        terms[concrete.position] = 1
        return terms
    if not isinstance(concrete, (ir.AffineAddExpr, ir.AffineMulExpr)):
        return None
    left, right = _linear_terms(concrete.lhs, num_dims), _linear_terms(concrete.rhs, num_dims)
    if left is None or right is None:
        return None
    if isinstance(concrete, ir.AffineAddExpr):
        return [a + b for a, b in zip(left, right, strict=True)]
    # MLIR canonicalizes a product so that its constant is on the right
    return [a * right[-1] for a in left] if not any(right[:-1]) else None


# Locations


def name_location(name: str, child: ir.Location | None = None) -> ir.Location:
    return ir.Location.name(name, child)


def fused_location(locations: Sequence[ir.Location]) -> ir.Location:
    """One location for an operation that stands for several; repeated ones count once."""
    # equal locations have equal attributes, but each object has a hash of its own
    distinct = list({location.attr: location for location in locations}.values())
    return distinct[0] if len(distinct) == 1 else ir.Location.fused(distinct)


def location_names(location: ir.Location) -> tuple[str, ...]:
    """All names in `location`, outermost first, each once; kernels map back to graph nodes by them."""
    return tuple(dict.fromkeys(name for part in _location_parts(location) for name in _own_names(part)))


_Position = tuple[str, int, int]
"""File, line and column, both from 1."""


def file_position(location: ir.Location) -> _Position | None:
    """The first source position in `location`."""
    found = (_own_position(part) for part in _location_parts(location))
    return next((position for position in found if position is not None), None)


def _own_position(location: ir.Location) -> _Position | None:
    if not isinstance(location, ir.FileLineColLoc):
        return None
    return location.filename, location.start_line, location.start_col


def _own_names(location: ir.Location) -> tuple[str, ...]:
    return (location.name_str,) if isinstance(location, ir.NameLoc) else ()


def _location_parts(location: ir.Location) -> Iterator[ir.Location]:
    """`location` and everything that it is made of, in pre-order."""
    if type(location) is ir.Location:  # diagnostics come with locations that are not downcast
        location = ir.Location.from_attr(location.attr)
    yield location
    for child in _children(location):
        yield from _location_parts(child)


def _children(location: ir.Location) -> Iterable[ir.Location]:
    if isinstance(location, ir.FusedLoc):
        return location.locations
    if isinstance(location, ir.NameLoc):
        return (location.child_loc,)
    return (location.callee, location.caller) if isinstance(location, ir.CallSiteLoc) else ()


class Sources:
    """Source positions as text; each location is looked at once, also inside others."""

    def __init__(self) -> None:
        self._texts: dict[ir.Attribute, str | None] = {}
        self._found: dict[ir.Attribute, tuple[_Position | None, tuple[str, ...]]] = {}

    def text(self, location: ir.Location) -> str | None:
        """ "file:line (value, value)", as much of it as the location knows."""
        key = location.attr
        if key not in self._texts:
            self._texts[key] = self._describe(location)
        return self._texts[key]

    def _describe(self, location: ir.Location) -> str | None:
        position, names = self._find(location)
        listed = ", ".join(names)
        if position is None:
            return listed or None
        place = f"{position[0]}:{position[1]}"
        return f"{place} ({listed})" if listed else place

    def _find(self, location: ir.Location) -> tuple[_Position | None, tuple[str, ...]]:
        """What `file_position` and `location_names` find."""
        key = location.attr
        known = self._found.get(key)
        if known is None:
            if type(location) is ir.Location:
                location = ir.Location.from_attr(key)
            position, names = _own_position(location), dict.fromkeys(_own_names(location))
            for child in _children(location):
                inner, more = self._find(child)
                position = position or inner
                names.update(dict.fromkeys(more))
            known = self._found[key] = position, tuple(names)
        return known


# Constants

_NUMPY_TYPES: dict[str, Any] = {
    "bf16": ml_dtypes.bfloat16,
    "f8E4M3FN": ml_dtypes.float8_e4m3fn,
    "f8E5M2": ml_dtypes.float8_e5m2,
}


def dense_to_numpy(attribute: ir.Attribute) -> np.ndarray[Any, Any]:
    """The values of a dense elements attribute as a new array, BF16 as `ml_dtypes.bfloat16`."""
    dense = ir.DenseElementsAttr(attribute)
    shaped = ir.ShapedType(dense.type)
    special = _NUMPY_TYPES.get(str(shaped.element_type))
    if special is None:
        return np.array(dense)
    dtype = np.dtype(special)
    count = 1 if dense.is_splat else int(np.prod(shaped.shape, dtype=np.int64))
    raw = ctypes.string_at(_capi().mlirDenseElementsAttrGetRawData(_capi_pointer(dense)), count * dtype.itemsize)
    values = np.frombuffer(raw, dtype)
    return np.full(shaped.shape, values[0], dtype) if dense.is_splat else values.reshape(shaped.shape).copy()


def numpy_to_dense(array: np.ndarray[Any, Any]) -> ir.DenseElementsAttr:
    """A dense elements attribute with the values of `array`; BF16 arrays are `ml_dtypes.bfloat16`."""
    contiguous = np.ascontiguousarray(array)
    if contiguous.dtype == np.dtype(ml_dtypes.bfloat16):
        bits = contiguous.view(np.uint16)
        return ir.DenseElementsAttr.get(bits, type=ir.BF16Type.get(), shape=list(array.shape))
    return ir.DenseElementsAttr.get(contiguous)


@cache
def _capi() -> ctypes.CDLL:
    """The wheel's C API library: the Python bindings cannot read BF16 values."""
    library = ctypes.CDLL(str(Path(_mlir_libs.get_lib_dirs()[0]) / "libTorchMLIRAggregateCAPI.so"))
    library.mlirDenseElementsAttrGetRawData.restype = ctypes.c_void_p
    library.mlirDenseElementsAttrGetRawData.argtypes = [ctypes.c_void_p]
    return library


def _capi_pointer(bound: Any) -> int:
    """The C pointer behind an object of the bindings."""
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = bound._CAPIPtr
    return get_pointer(capsule, get_name(capsule))
