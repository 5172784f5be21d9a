"""Loadables as images of the existing emulator."""

from __future__ import annotations

import re

import pytest

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.firmware.link import firmware, system_data
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind
from atalla_mlir.mc.parse import assemble
from atalla_mlir.runtime.program import Program
from atalla_mlir.target.machine import AX01
from atalla_mlir.translate.images import from_image, to_image

BASE = len(firmware().code)
CODE = assemble("{ addi.s x5, x0, 60 }\n{ lui.s x4, 0x20 }\n{ sw.s x5, 8(x4) ; jalr x0, x1, 0 }", base=BASE).code


def program(*segments: Segment) -> Loadable:
    return Loadable(
        machine_name=AX01.name,
        machine_digest=AX01.digest(),
        entries=(Entry("main", BASE, (), ()),),
        segments=(Segment(SegmentKind.CODE, 0, memoryview(firmware().code + CODE)), *segments),
        meta={},
        dram_size=0x2000,
    )


DATA = (
    Segment(SegmentKind.DATA, 0, memoryview(system_data())),
    Segment(SegmentKind.DATA, 0x1002, memoryview(b"\x01\x02\x03\x04")),
    Segment(SegmentKind.DATA, 0x1800, size=64),
)


def test_an_image_runs_the_first_entry_wherever_it_goes() -> None:
    text = to_image(program(*DATA))
    lines = text.split("\n")
    assert lines[lines.index(".data") :][2:9] == [
        "00000000: 4C545441",
        "00000002: 00014C54",
        "00000004: 41580001",
        "00000006: 01004158",
        "00000008: 00000100",
        f"0000000A: {BASE & 0xFFFF:04X}0000",
        f"0000000C: {BASE:08X}",
    ]
    again = from_image(text)
    assert to_image(again) == text
    device = Program(again, engine="reference")
    device.run_entry("main", [])
    assert device.engine.read_dram(0x1008, 4) == (60).to_bytes(4, "little")
    assert device.engine.read_dram(0x1002, 4) == b"\x01\x02\x03\x04"


def test_images_have_one_piece_of_code() -> None:
    pieces = program(Segment(SegmentKind.CODE, 0x10018, memoryview(bytes(20))))
    message = "an .in image has its code in one piece at PC 0; the loadable has it at 0x0, 0x10018"
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        to_image(pieces)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what\n", "a.in:1: error: expected 'address: value', got 'what'"),
        ("# nothing\n.data\n00000000: 00000001\n", "a.in: the image has no packets"),
    ],
)
def test_what_is_not_an_image(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        from_image(text, "a.in")
