"""Loadables as text and back: the same bytes, and errors at their lines."""

from __future__ import annotations

import re

import numpy as np
import pytest

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import firmware, system_data
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.writer import write_loadable
from atalla_mlir.target.machine import AX01
from atalla_mlir.translate.assembly_reader import assemble
from atalla_mlir.translate.assembly_text import to_assembly


def example() -> Loadable:
    random = np.random.default_rng(5)
    mixed = random.integers(0, 256, 1003, np.uint8)
    mixed[100:400] = 0
    tensor = TensorSpec("wéight", "bf16", (2, 3), (3, 1), 0x9000, "f32")
    words = (0, 0x31, 0x7F, 0x12345678FF, 0xFFFFFFFFFF)
    undecodable = b"".join(random.choice(words).item().to_bytes(5, "little") for _ in range(40))
    return Loadable(
        machine_name=AX01.name,
        machine_digest=AX01.digest(),
        entries=(Entry("main", 20, (tensor,), ()), Entry("an entry", 0x10018, (), (tensor,))),
        segments=(
            Segment(SegmentKind.CODE, 0, memoryview(firmware().code)),
            Segment(SegmentKind.CODE, 0x10018, memoryview(undecodable)),
            Segment(SegmentKind.DATA, 0, memoryview(system_data())),
            Segment(SegmentKind.DATA, 0x2001, memoryview(mixed.tobytes())),
            Segment(SegmentKind.DATA, 0x3000, memoryview(bytes(33))),
            Segment(SegmentKind.DATA, 0x4000, size=0x6000),
        ),
        meta={
            "functions": {"spad_alloc": list(link_range("spad_alloc")), "not a label": [0, 20], "L_00000": [0, 20]},
            "a key": {"text": "line\nbreak # mark #! code 0", "numbers": [1e300, -0.0, 3]},
        },
        dram_size=0xB000,
    )


def link_range(name: str) -> tuple[int, int]:
    start = firmware().labels[name]
    return start, start + 20


def test_text_gives_the_same_bytes() -> None:
    loadable = example()
    text = to_assembly(loadable)
    again = assemble(text)
    assert write_loadable(again) == write_loadable(loadable)
    assert to_assembly(again) == text


def test_entries_follow_their_labels() -> None:
    text = to_assembly(example())
    moved = text.replace('"pc": 20', '"pc": "spad_alloc"')
    assert assemble(moved).entry("main").pc == firmware().labels["spad_alloc"]


MARKED = '#! dram 64\n#! entry {"name": "e", "pc": 0}\n#! code 0x0\n.text\nhalt.s\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("halt.s\nfoo x1\n", "t.s:2:1: error: unknown instruction 'foo'"),
        ("", "t.s:1: error: no instructions"),
        ("#! what 1\n", "t.s:1: error: unknown line '#! what'"),
        ("#! dram many\n", "t.s:1: error: malformed line '#! dram': invalid literal for int() with base 0: 'many'"),
        ("#! dram 0\nhalt.s\n", "t.s:2: error: code or data before the first '#! code' or '#! data'"),
        ("#! input {}\n", "t.s:1: error: an input before the first entry"),
        (MARKED + "\n foo\n", "t.s:7:2: error: unknown instruction 'foo'"),
        ("#! code 0\n.text\n", "t.s:1: error: a segment of code without instructions"),
        (MARKED + ".data 4\n.word 1\n", "t.s:3: error: data inside a segment of code; start it with '#! data ADDRESS'"),
        (MARKED + "#! data 0x8\n.data 0x8\n", "t.s:6: error: a segment of data without contents"),
        (
            MARKED + "#! data 0x8\n.word 1,x\n",
            "t.s:7: error: malformed data: invalid literal for int() with base 0: 'x'",
        ),
        (MARKED + "#! data 0x8\n.half 70000\n", "t.s:7: error: malformed data: int too big to convert"),
        (
            MARKED + "#! data 0x8\nhalt.s\n",
            "t.s:7: error: 'halt.s' in a segment of data; expected .word, .half, .byte or .space",
        ),
        (MARKED.replace('"pc": 0', '"pc": "m"'), "t.s:2: error: entry 'e' starts at the undefined label 'm'"),
        (MARKED.replace('"pc": 0', '"pc": 20'), "t.s: entry 'e' starts at PC 0x14, not a packet of the code"),
        (
            "#! loadable 9.0\n",
            "t.s: the loadable has format version 9.0, this atalla-mlir reads 1.0; update atalla-mlir",
        ),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        assemble(text, "t.s")


def test_plain_assembly_is_a_program() -> None:
    loadable = assemble("nop.s\nmain:\n  halt.s\n.data 0x40\n.word 7\n")
    assert loadable.entries == (Entry("main", 20, (), ()),)
    assert [(segment.kind, segment.address, segment.size) for segment in loadable.segments] == [
        ("code", 0, 40),
        ("data", 0x40, 4),
    ]
    assert loadable.dram_size == 0x44


def test_segments_lie_where_the_marks_say() -> None:
    loadable = assemble("#! zero 0x100 64\n#! code 0x28\n.text\nlabel:\n  jal x0, label\n")
    assert loadable.code_segments[0].address == 0x28
    assert loadable.data_segments[0].is_zero_fill
    assert loadable.dram_size == 0x140
