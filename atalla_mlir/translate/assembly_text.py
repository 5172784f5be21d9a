"""Loadables as assembly text that says everything: code, data, and in `#!` lines what these cannot express.

    #! loadable 1.0                     format version
    #! machine "ax01" <digest>          parameter set
    #! dram 81920                       DRAM of the program in bytes
    #! entry {"name": .., "pc": ..}     a function that the host can start; its `pc` is a label or a number
    #! input {..}  #! output {..}       a tensor of the entry before it
    #! meta KEY JSON                    a key of the metadata
    #! code 0x0                         a segment of code: instructions follow
    #! data 0x1000                      a segment of data: .data, .word, .byte, .space follow
    #! zero 0x2000 4096                 a segment of zeros: address, bytes

To an assembler the `#!` lines are comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from atalla_mlir.loadable.format import FORMAT_VERSION, Entry, Loadable, Segment, SegmentKind
from atalla_mlir.mc.print import disassemble

MARK = "#!"
LABEL = re.compile(r"[A-Za-z_][\w.]*\Z", re.ASCII)
_WORDS_PER_LINE = 8
_LINE_BYTES = 4 * _WORDS_PER_LINE
_INTRODUCTION = """\
# A loadable as text. atalla-translate --asm-to-blob makes the file again, byte for byte.
# Lines with #! say what instructions and data cannot; the program's addresses in them are not adjusted to changed code.
"""


def compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def to_assembly(loadable: Loadable) -> str:
    """The text; `assemble` gives back an equal loadable."""
    return _INTRODUCTION + "\n".join(_lines(loadable)) + "\n"


def _lines(loadable: Loadable) -> Iterator[str]:
    labels = _labels(loadable)
    yield f"{MARK} loadable {FORMAT_VERSION}"
    yield f"{MARK} machine {compact(loadable.machine_name)} {loadable.machine_digest}"
    yield f"{MARK} dram {loadable.dram_size}"
    for entry in loadable.entries:
        yield from _entry(entry, labels)
    for key, value in sorted(loadable.meta.items()):
        yield f"{MARK} meta {compact(key)} {compact(value)}"
    for segment in loadable.segments:
        yield ""
        yield from _segment(segment, labels)


def _labels(loadable: Loadable) -> dict[str, int]:
    """Names of functions that an assembler takes as labels, with their PCs."""
    functions: Mapping[str, Any] = loadable.meta.get("functions", {})
    return {name: span[0] for name, span in functions.items() if LABEL.match(name) and not name.startswith("L_")}


def _entry(entry: Entry, labels: Mapping[str, int]) -> Iterator[str]:
    at = next((name for name, pc in sorted(labels.items()) if pc == entry.pc), entry.pc)
    yield f"{MARK} entry {compact({'name': entry.name, 'pc': at})}"
    for kind, specs in (("input", entry.inputs), ("output", entry.outputs)):
        for spec in specs:
            yield f"{MARK} {kind} {compact(asdict(spec))}"


def _segment(segment: Segment, labels: Mapping[str, int]) -> Iterator[str]:
    if segment.kind is SegmentKind.CODE:
        yield f"{MARK} code {segment.address:#x}"
        yield ".text"
        yield disassemble(bytes(segment.data), base=segment.address, labels=labels).rstrip("\n")
    elif segment.is_zero_fill:
        yield f"{MARK} zero {segment.address:#x} {segment.size}"
    else:
        yield f"{MARK} data {segment.address:#x}"
        yield f".data {segment.address:#x}"
        yield from _data(segment.data)


def _data(data: memoryview) -> Iterator[str]:
    zeros = 0
    for at in range(0, len(data), _LINE_BYTES):
        part = bytes(data[at : at + _LINE_BYTES])
        if not any(part):
            zeros += len(part)
            continue
        if zeros:
            yield f"    .space {zeros}"
            zeros = 0
        yield from _data_line(part)
    if zeros:
        yield f"    .space {zeros}"


def _data_line(part: bytes) -> Iterator[str]:
    whole = len(part) & ~3
    words = [f"0x{int.from_bytes(part[at : at + 4], 'little'):08X}" for at in range(0, whole, 4)]
    if words:
        yield f"    .word {', '.join(words)}"
    if rest := part[whole:]:
        yield f"    .byte {', '.join(f'0x{byte:02X}' for byte in rest)}"
