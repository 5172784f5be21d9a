"""Loadables and the `.in` images of the existing emulator: code and data, nothing else."""

from __future__ import annotations

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind
from atalla_mlir.mc.image import Image, read_image, write_image
from atalla_mlir.target.machine import AX01, Machine


def to_image(loadable: Loadable) -> str:
    """The text of an `.in` file; zeros are not written, and entries and metadata have no place in it."""
    code = loadable.code_segments
    if len(code) != 1 or code[0].address:
        raise UnsupportedError(
            f"an .in image has one piece of code at PC 0; the loadable has {len(code)} pieces of code"
        )
    data = tuple(
        (segment.address, bytes(segment.data)) for segment in loadable.data_segments if not segment.is_zero_fill
    )
    return write_image(Image(bytes(code[0].data), data))


def from_image(text: str, machine: Machine = AX01) -> Loadable:
    """A loadable with one entry `main` at PC 0 that takes and gives nothing."""
    image = read_image(text)
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
