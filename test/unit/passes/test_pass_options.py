from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from atalla_mlir.errors import BadInputError
from atalla_mlir.passes import find_pass, register_pass
from atalla_mlir.passes.base import Option, Pass, documented_options, options, summary, with_options
from atalla_mlir.passes.pipeline_text import parse, parse_options


@dataclass(frozen=True)
class ExamplePass(Pass):
    """Do something.

    More text.
    """

    name: ClassVar[str] = "example"

    tile_rows: int = 32
    """Rows of a tile."""
    fuse: bool = True
    scale: float = 1.0
    """A factor.

    Its second paragraph is not shown.
    """
    target: str = ""
    sizes: tuple[int, ...] = ()


def test_options_are_the_fields() -> None:
    assert options(ExamplePass) == (
        Option("tile_rows", int, 32),
        Option("fuse", bool, True),
        Option("scale", float, 1.0),
        Option("target", str, ""),
        Option("sizes", tuple[int, ...], ()),
    )


def test_documentation_stands_below_the_field() -> None:
    helps = {option.name: option.help for option in documented_options(ExamplePass)}
    assert helps == {"tile-rows": "Rows of a tile.", "fuse": "", "scale": "A factor.", "target": "", "sizes": ""}
    assert summary(ExamplePass) == "Do something"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ExamplePass()),
        ("tile-rows=0x10 fuse=false", ExamplePass(tile_rows=16, fuse=False)),
        ("tile_rows=8 fuse", ExamplePass(tile_rows=8)),
        ("scale=0.5 sizes=4,8", ExamplePass(scale=0.5, sizes=(4, 8))),
        ("sizes={4, 8}", ExamplePass(sizes=(4, 8))),
        ('target="a b"', ExamplePass(target="a b")),
        ("target='a{}b' sizes=", ExamplePass(target="a{}b")),
    ],
)
def test_option_text(text: str, expected: ExamplePass) -> None:
    assert with_options(ExamplePass, parse_options(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows=1", "pass 'example' has no option 'rows'; it has tile-rows, fuse, scale, target, sizes"),
        ("tile-rows=x", "pass 'example': option 'tile-rows': expected an integer, got 'x'"),
        ("tile-rows", "pass 'example': option 'tile-rows': expected an integer"),
        ("fuse=maybe", "pass 'example': option 'fuse': expected true or false, got 'maybe'"),
        ("scale=fast", "pass 'example': option 'scale': expected a number, got 'fast'"),
        ("sizes=1,a", "pass 'example': option 'sizes': expected an integer, got 'a'"),
    ],
)
def test_wrong_option(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        with_options(ExamplePass, parse_options(text))
    assert str(caught.value) == message


def test_malformed_options() -> None:
    with pytest.raises(ValueError, match=r"^malformed options 'a=\"b', expected name=value separated by blanks$"):
        parse_options('a="b')


@pytest.mark.parametrize(
    "instance",
    [
        ExamplePass(),
        ExamplePass(tile_rows=8, fuse=False, sizes=(1, 2)),
        ExamplePass(target="a b"),
        ExamplePass(scale=2),
    ],
)
def test_text_of_a_pass_reads_back(instance: ExamplePass) -> None:
    (element,) = parse(str(instance))
    assert with_options(ExamplePass, parse_options(element.options or "")) == instance


def test_text_shows_only_what_differs_from_the_default() -> None:
    assert str(ExamplePass(tile_rows=8, fuse=False)) == "example{tile-rows=8 fuse=false}"


def test_unknown_pass_proposes_similar_names() -> None:
    register_pass(ExamplePass)
    with pytest.raises(BadInputError, match=r"^no pass 'exmaple'; did you mean example$"):
        find_pass("exmaple")


def test_name_is_taken() -> None:
    register_pass(ExamplePass)
    other = dataclass(frozen=True)(type("OtherPass", (Pass,), {"name": "example"}))
    with pytest.raises(BadInputError, match=r"^there is a pass 'example' already$"):
        register_pass(other)
