"""Loadables and the `.in` images of the existing emulator: code and data, nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind
from atalla_mlir.mc.image import Image, read_image, write_image
from atalla_mlir.target.machine import AX01, Machine


def to_image(loadable: Loadable) -> str:
    """The text of an `.in` file, which runs the first entry.

    Zeros are not written, and inputs, other entries and metadata have no place in it.
    """
    code = loadable.code_segments
    if len(code) != 1 or code[0].address:
        places = ", ".join(hex(segment.address) for segment in code) or "nowhere"
        raise UnsupportedError(f"an .in image has its code in one piece at PC 0; the loadable has it at {places}")
    return write_image(Image(bytes(code[0].data), tuple(_data(loadable))))


def _data(loadable: Loadable) -> Iterator[tuple[int, bytes]]:
    for segment in loadable.data_segments:
        if segment.is_zero_fill:
            continue
        data = bytes(segment.data)
        if segment.address == 0 and loadable.entries and _is_header(data):
            pc = struct.pack("<I", loadable.entries[0].pc)
            data = data[: abi.ENTRY_ADDRESS] + pc + data[abi.ENTRY_ADDRESS + len(pc) :]
        yield segment.address, data


def _is_header(data: bytes) -> bool:
    at = abi.HEADER_MAGIC_ADDRESS
    return len(data) >= abi.TENSORS_ADDRESS and int.from_bytes(data[at : at + 4], "little") == abi.HEADER_MAGIC


def from_image(text: str, filename: str = "<string>", machine: Machine = AX01) -> Loadable:
    """A loadable with one entry `main` at PC 0 that takes and gives nothing."""
    image = read_image(text, filename)
    if not image.code:
        raise BadInputError(f"{filename}: the image has no packets")
    segments = [Segment(SegmentKind.CODE, 0, memoryview(image.code))]
    segments += [Segment(SegmentKind.DATA, address, memoryview(data)) for address, data in image.data if data]
    return Loadable(
        machine_name=machine.name,
        machine_digest=machine.digest(),
        entries=(Entry("main", 0, (), ()),),
        segments=tuple(segments),
        meta={},
        dram_size=max((segment.end for segment in segments[1:]), default=0),
    )
