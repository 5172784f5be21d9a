"""Register types of the `ax01` dialect: virtual, or pinned to a number."""

from typing import Any, Optional

from atalla_mlir._mlir import ext, ir
from atalla_mlir.target.registers import FILES, RegisterFile


class Ax01(ext.Dialect, name="ax01"):
    pass


class SRegType(Ax01.Type, name="sreg"):
    """A scalar register that is not chosen yet."""


class VRegType(Ax01.Type, name="vreg"):
    """A vector register that is not chosen yet."""


class MRegType(Ax01.Type, name="mreg"):
    """A mask register that is not chosen yet."""


class XType(Ax01.Type, name="x"):
    """Scalar register x`number`."""

    number: ir.IntegerAttr


class VType(Ax01.Type, name="v"):
    """Vector register v`number`."""

    number: ir.IntegerAttr


class MType(Ax01.Type, name="m"):
    """Mask register m`number`."""

    number: ir.IntegerAttr


VIRTUAL_TYPES = {RegisterFile.SCALAR: SRegType, RegisterFile.VECTOR: VRegType, RegisterFile.MASK: MRegType}
PINNED_TYPES = {RegisterFile.SCALAR: XType, RegisterFile.VECTOR: VType, RegisterFile.MASK: MType}

_PINNED = frozenset(PINNED_TYPES.values())
_FILE_OF_TYPE = {kind: file for types in (VIRTUAL_TYPES, PINNED_TYPES) for file, kind in types.items()}
# what the fields of operations accept
SCALAR = SRegType | XType
CONSTRAINTS: dict[RegisterFile, Any] = {file: VIRTUAL_TYPES[file] | PINNED_TYPES[file] for file in RegisterFile}
ANY_PINNED = XType | VType | MType
ANY_REGISTER = SRegType | VRegType | MRegType | XType | VType | MType


def register_file(register: ir.Type) -> Optional[RegisterFile]:
    """The file of a register type; None for any other type."""
    return _FILE_OF_TYPE.get(type(register))


def pinned_number(register: ir.Type) -> Optional[int]:
    """The register number of a pinned type; None for a virtual register or any other type."""
    if type(register) not in _PINNED:
        return None
    return register.params[0].maybe_downcast().value


def register_number(value: ir.Value) -> int:
    """The number of the register that `value` is pinned to; ValueError when it is virtual or the machine lacks it."""
    register = value.type
    number = pinned_number(register)
    if number is None:
        raise ValueError(f"a register of type {register} has no number")
    count = FILES[_FILE_OF_TYPE[type(register)]].count
    if not 0 <= number < count:
        raise ValueError(f"register {number} of type {register} does not exist, there are {count}")
    return number


def fail(op: Any, message: str) -> bool:
    """Report `message` about `op`; the result is what a verifier returns."""
    op.location.emit_error(f"'{op.operation.name}' op {message}")
    return False
