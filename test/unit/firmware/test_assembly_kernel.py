"""Kernels written by hand: what a description says, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from atalla_mlir.errors import AtallaError, BadInputError, LimitError
from atalla_mlir.firmware.expressions import Expression
from atalla_mlir.firmware.kernel_description import parse_kernel, read_kernel
from atalla_mlir.firmware.link import link
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.target.encoding import DmaShape

OPERATION = "#! operation test::twice(x[rows, columns], float scale, int shift) -> [columns, 2 * rows]"
BODY = "    jalr x0, x1, 0"


def kernel_of(*lines: str, body: str = BODY) -> str:
    return "\n".join([*lines, body])


def test_a_description_says_what_a_kernel_computes() -> None:
    text = kernel_of(
        "# a comment",
        OPERATION,
        "#! require columns % 32 == 0",
        "#! constant ROWS = ceil_div(rows, 32)",
        "#! constant HALF = scale / 2",
        "#! error relative 2**-8 absolute 1e-30",
        "#! flops 2 * rows * columns",
        "#! macs rows * columns",
        body="    li.s x5, ROWS\n    li.s x6, HALF\n    addi.s x7, x0, shift\n" + BODY,
    )
    kernel = parse_kernel(text, "k.s")
    assert kernel.schema == "(Tensor x, float scale, int shift) -> Tensor"
    assert kernel.qualified_name == "test::twice"
    sizes = kernel.sizes([(40, 64)])
    assert sizes == {"rows": 40, "columns": 64}
    assert kernel.result_shape(sizes) == (64, 80)
    values = {**sizes, "scale": 3.0, "shift": -4}
    assert kernel.refusal(values) is None
    assert kernel.refusal({**values, "columns": 20}) == "k.s requires columns % 32 == 0; columns is 20"
    assert (kernel.flops.value(values), kernel.macs.value(values)) == (5120, 2560)
    assert kernel.error is not None and kernel.error.relative == 2**-8
    code = kernel.object_code("twice", values)
    assert code.sources == ("k.s:9", "k.s:10", "k.s:11", "k.s:12")
    written = [packet[0].operands for packet in decode_packets(code.code) if packet[0] is not None]
    assert written[:3] == [(5, 0, 2), (6, 0x3FC00000 >> 7), (7, 0, -4)]


def test_services_are_linked() -> None:
    kernel = parse_kernel(
        kernel_of(OPERATION, body="    jal x1, spad_avail\n    jal x1, dma_wait\n    jal x0, spad_free")
    )
    code = kernel.object_code("twice", {"rows": 1, "columns": 1, "scale": 1.0, "shift": 0})
    assert [(item.packet, item.target) for item in code.relocations] == [
        (0, "spad_avail"),
        (1, "dma_wait"),
        (2, "spad_free"),
    ]
    image = link([code])
    jumps = decode_packets(image.code[image.pc("twice") :])
    for number, service in enumerate(("spad_avail", "dma_wait", "spad_free")):
        assert jumps[number][0] is not None
        assert image.pc("twice") + 20 * number + jumps[number][0].operands[1] == image.pc(service)  # pyright: ignore


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "k.s:1: error: the kernel has no description; a line '#! operation NAMESPACE::NAME(x[rows, columns], "),
        (["#! operaton x"], "k.s:1: error: 'operaton' is no part of a kernel's description; there are operation, "),
        (["#! operation twice(x[n]) -> [n]"], "k.s:1: error: expected 'NAMESPACE::NAME(PARAMETERS) -> [EXTENTS]'"),
        (["#! operation a::b(x) -> [1]"], "parameter 'x' is neither a tensor, 'x[rows, columns]', nor 'float NAME'"),
        (["#! operation a::b(x[n-1]) -> [n]"], "extent 'n-1' of an input is neither a positive number nor a name"),
        (["#! operation a::b(float n) -> [n]"], "a::b takes no tensor"),
        (["#! operation a::b(x[n], float n) -> [n]"], "the name 'n' stands for two things"),
        (["#! operation a::b(x[n]) -> [m]"], "k.s:1: error: 'm' reads 'm', which no parameter defines"),
        ([OPERATION, OPERATION], "k.s:2: error: a second '#! operation'; the first is in line 1"),
        ([OPERATION, "#! require depth > 1"], "k.s:2: error: 'depth > 1' reads 'depth', which no parameter defines"),
        ([OPERATION, "#! require rows >"], "k.s:2: error: 'rows >' is not an expression"),
        ([OPERATION, "#! constant A"], "k.s:2: error: expected 'NAME = EXPRESSION', got 'A'"),
        ([OPERATION, "#! constant rows = 1"], "k.s:2: error: the name 'rows' stands for two things"),
        ([OPERATION, "#! error 1"], "k.s:2: error: expected 'relative NUMBER absolute NUMBER', got '1'"),
        ([OPERATION, "#! error relative 2 absolute 0"], "k.s:2: error: an error of 2.0 * |result| + 0.0 is no bound"),
        ([OPERATION, "#! flops depth"], "k.s:2: error: 'depth' reads 'depth', which no parameter defines"),
    ],
)
def test_wrong_descriptions(lines: list[str], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_kernel(kernel_of(*lines), "k.s")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("", BadInputError, "k.s: error: the kernel has no instructions"),
        ("    halt.s", BadInputError, "k.s:2: error: halt.s ends the whole program; a kernel returns with"),
        ("    addi.s x5, x0, 1", BadInputError, "k.s:2: error: control runs off the end of the kernel"),
        ("    addi.s x3, x0, 1\n" + BODY, BadInputError, "k.s:2: error: addi.s writes x3, which kernels must keep"),
        ("    mv.stm m1, x5\n" + BODY, BadInputError, "k.s:2: error: mv.stm writes m1, which kernels must keep"),
        (
            "    addi.s x5, x0, row\n" + BODY,
            AtallaError,
            "k.s:2:20: error: undefined symbol 'row'; did you mean 'rows'?",
        ),
        ("    addi.s x5, x0, columns\n" + BODY, AtallaError, "imm 4096 does not fit in -2048..2047"),
        ("    jal x1, spad_aloc\n" + BODY, AtallaError, "undefined label 'spad_aloc'; did you mean 'spad_alloc'?"),
        ("    beq.s x5, x6, spad_alloc\n" + BODY, AtallaError, "undefined label 'spad_alloc'"),
        (BODY + "\n.data 0x1000\n.word 1", LimitError, "k.s: error: a kernel has no data of its own"),
    ],
)
def test_wrong_code(body: str, error: type[AtallaError], message: str) -> None:
    kernel = parse_kernel(kernel_of(OPERATION, body=body), "k.s")
    with pytest.raises(error) as caught:
        kernel.object_code("twice", {"rows": 1, "columns": 4096, "scale": 1.0, "shift": 0})
    assert message in str(caught.value)


def test_shapes_that_do_not_fit() -> None:
    kernel = parse_kernel(kernel_of("#! operation a::b(x[n, 4], y[n]) -> [n]"), "k.s")
    assert kernel.sizes([(3, 4), (3,)]) == {"n": 3}
    for shapes, message in (
        ([(3, 4, 5), (3,)], r"a::b takes x\[n, 4\], got shape \[3, 4, 5\]"),
        ([(3, 5), (3,)], r"a::b takes x\[n, 4\], got shape \[3, 5\]"),
        ([(3, 4), (2,)], r"a::b takes y\[n\], where n is 3, got shape \[2\]"),
    ):
        with pytest.raises(BadInputError, match=message):
            kernel.sizes(shapes)


def test_expressions() -> None:
    names = {"n": 7, "x": 0.5}
    for text, value in (
        ("n * 2 + 1", 15),
        ("-n // 2", -4),
        ("2 ** -3", 0.125),
        ("1 <= n < 8 and not n == 6", True),
        ("n > 8 or x < 1", True),
        ("min(n, 3) + max(n, 9) + ceil_div(n, 2)", 16),
        ("dma(1, 32, 16, 64)", DmaShape(1, 32, 16, 64).encode()),
        ("n << 2 | 1", 29),
    ):
        assert Expression(text).value(names) == value, text
    assert Expression("min(n, m) + x").names == {"n", "m", "x"}
    for text, message in (
        ("n / 0", "'n / 0' cannot be computed: division by zero"),
        ("m", "'m' reads 'm', which is not one of n, x"),
        ("n.real", r"'n.real' holds 'n.real'; there are numbers, names, arithmetic, comparisons and min, "),
        ("open(n)", r"holds 'open\(n\)'"),
        ("dma(0, 33, 1, 1)", "cannot be computed: dma rows 33 does not fit in 1..32"),
    ):
        with pytest.raises(BadInputError, match=message):
            Expression(text).value(names)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot read the kernel '.*nothing.s'"):
        read_kernel(tmp_path / "nothing.s")
