"""What a pass is.

A pass is a frozen dataclass; its options are its fields, all with defaults, each with a line of documentation under
it. In the text of a pipeline an option is the field's name with dashes:

    field                         text
    tile_rows: int = 32           atalla-tile{tile-rows=64}
    fuse: bool = True             atalla-tile{fuse=false}      (`fuse` alone means true)
    scale: float = 1.0            atalla-tile{scale=0.5}
    target: str = ""              atalla-tile{target="a b"}    (quotes when there are blanks)
    sizes: tuple[int, ...] = ()   atalla-tile{sizes=4,8}
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from atalla_mlir._mlir import ir
from atalla_mlir.errors import AtallaError, BadInputError


class PassFailure(AtallaError):  # noqa: N818 (the field's word)
    """A pass cannot handle the IR that it got, for a reason that the user can act on.

    `where` is the operation or location to blame; `notes` are further (location, message) pairs.
    """

    category = "pass failed"

    def __init__(
        self,
        where: ir.Operation | ir.OpView | ir.Location,
        message: str,
        notes: Sequence[tuple[ir.Location, str]] = (),
    ) -> None:
        super().__init__(message)
        self.location = where if isinstance(where, ir.Location) else where.location
        self.message = message
        self.notes = tuple(notes)


@dataclass(frozen=True)
class Pass:
    """A transformation of the operations called `anchor` ("any": of whatever operation the pipeline is for).

    The first line of a subclass's docstring is its help text.
    """

    name: ClassVar[str]
    anchor: ClassVar[str] = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        """Transform `op`, which is verified, and leave it verified.

        Raises PassFailure or another AtallaError when the IR is valid but cannot be handled. The context and the
        location of `op` are current (the bindings want one even to make a type), an insertion point is not.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        """The pass as an element of a pipeline text, with the options that differ from their defaults."""
        texts: list[str] = []
        for option in options(type(self)):
            value = getattr(self, option.field)
            if value != option.default:
                texts.append(f"{option.name}={_value_text(value)}")
        return f"{self.name}{{{' '.join(texts)}}}" if texts else self.name


@dataclass(frozen=True)
class Option:
    """An option of a pass: the field, its type and default, and the documentation under it."""

    field: str
    type: Any
    default: Any
    help: str = ""

    @property
    def name(self) -> str:
        return self.field.replace("_", "-")

    def parse(self, text: str | None) -> Any:
        """The value that `text` (None: the option's name alone) stands for; ValueError says what was expected."""
        if typing.get_origin(self.type) is tuple:
            element = typing.get_args(self.type)[0]
            return tuple(_parse_scalar(element, item.strip()) for item in (text or "").split(",") if item.strip())
        if text is None and self.type is not bool:
            raise ValueError(f"expected {_type_name(self.type)}")
        return _parse_scalar(self.type, "true" if text is None else text)


def options(pass_class: type[Pass]) -> tuple[Option, ...]:
    """The options of a pass class, in declaration order."""
    types = typing.get_type_hints(pass_class)
    return tuple(Option(field.name, types[field.name], field.default) for field in dataclasses.fields(pass_class))


def documented_options(pass_class: type[Pass]) -> tuple[Option, ...]:
    """`options` with the help texts, which costs parsing the class's source."""
    documentation = _field_documentation(pass_class)
    return tuple(
        dataclasses.replace(option, help=documentation.get(option.field, "")) for option in options(pass_class)
    )


def summary(pass_class: type[Pass]) -> str:
    """The first line of the docstring, without full stop."""
    return (inspect.getdoc(pass_class) or "").split("\n", 1)[0].rstrip(".")


def with_options(pass_class: type[Pass], given: Sequence[tuple[str, str | None]]) -> Pass:
    """An instance of `pass_class` with options from their texts; BadInputError names a wrong one."""
    known = {option.name: option for option in options(pass_class)}
    values: dict[str, Any] = {}
    for name, text in given:
        option = known.get(name.replace("_", "-"))
        if option is None:
            there_are = f"it has {', '.join(known)}" if known else "it has none"
            raise BadInputError(f"pass '{pass_class.name}' has no option '{name}'; {there_are}")
        try:
            values[option.field] = option.parse(text)
        except ValueError as error:
            raise BadInputError(f"pass '{pass_class.name}': option '{name}': {error}") from None
    return pass_class(**values)


def _parse_scalar(kind: Any, text: str) -> Any:
    words = {"true": True, "1": True, "false": False, "0": False}
    try:
        if kind is bool:
            return words[text]
        if kind is int:
            return int(text, 0)
        return kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"expected {_type_name(kind)}, got '{text}'") from None


def _type_name(kind: Any) -> str:
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string"}.get(kind, str(kind))


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in typing.cast("tuple[Any, ...]", value))
    text = str(value)
    if text and not any(character in text for character in " ,{}\"'"):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def _field_documentation(pass_class: type[Pass]) -> dict[str, str]:
    """The string below each field of the class body, first line only."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(pass_class)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    found: dict[str, str] = {}
    for field, following in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(following.value.value)).split("\n", 1)[0]
    return found
