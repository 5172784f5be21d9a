"""Loading of dialects that are defined in Python.

A definition is per process, but MLIR loads it per context, refuses to load it twice into one context, and forgets it
with the context. `load_once` hides that.

Note for definitions: all members of a variadic operand or result must have one type, because IRDL binds the constraint
of a field to the first type that it meets.
"""

from atalla_mlir._mlir import ext, ir


def load_once(dialect: type[ext.Dialect]) -> None:
    """Load `dialect` into the current context unless it is there already."""
    if not ir.Context.current.is_dialect_loaded(dialect.DIALECT_NAMESPACE):
        dialect.load()
