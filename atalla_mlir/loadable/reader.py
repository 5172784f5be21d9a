"""ELF files to loadables.

The reader believes nothing: structure first, then the hash over the whole file, then the meaning of every field. At the
end it lays the loadable out again and compares all but the segments' contents, so that a file is accepted only if the
writer could have made it. Segments are views of the caller's bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from atalla_mlir.errors import BadInputError
from atalla_mlir.loadable import elf
from atalla_mlir.loadable.format import Damage, Loadable, LoadableError, Segment, SegmentKind
from atalla_mlir.loadable.metadata import parse_meta
from atalla_mlir.loadable.records import (
    HASH_BYTES,
    HASH_OFFSET,
    SEGMENT_CODE,
    SEGMENT_DATA,
    Note,
    SegmentRow,
    unpack_io,
    unpack_note,
)
from atalla_mlir.loadable.writer import layout


def _corrupted(message: str) -> LoadableError:
    return LoadableError(message, Damage.CORRUPTED)


def _truncated(size: int, needed: int) -> LoadableError:
    return LoadableError(f"the loadable is truncated: it has {size} of {needed} bytes", Damage.TRUNCATED)


def _file_header(data: memoryview) -> elf.FileHeader:
    if bytes(data[:4]) != elf.MAGIC[: len(data)] or not len(data):
        raise LoadableError("not a loadable: the file does not start as an ELF file", Damage.NOT_A_LOADABLE)
    if len(data) < elf.FILE_HEADER.size:
        raise _truncated(len(data), elf.FILE_HEADER.size)
    header = elf.FileHeader(*elf.FILE_HEADER.unpack_from(data))
    if header.ident != elf.IDENT:
        raise LoadableError(
            "not a loadable: expected a 32-bit little-endian ELF file, "
            f"got class {header.ident[4]}, data encoding {header.ident[5]}, version {header.ident[6]}",
            Damage.NOT_A_LOADABLE,
        )
    if header.machine != elf.MACHINE:
        raise LoadableError(
            f"the ELF file is for machine {header.machine:#x}, not for the Atalla Ax01 ({elf.MACHINE:#x})",
            Damage.WRONG_MACHINE,
        )
    expected = {
        "type": elf.ET_EXEC,
        "version": elf.EV_CURRENT,
        "entry": 0,
        "phoff": elf.FILE_HEADER.size,
        "flags": 0,
        "ehsize": elf.FILE_HEADER.size,
        "phentsize": elf.PROGRAM_HEADER.size,
        "shentsize": elf.SECTION_HEADER.size,
    }
    for name, value in expected.items():
        if (found := getattr(header, name)) != value:
            raise _corrupted(f"field e_{name} of the ELF header is {found:#x}; a loadable has {value:#x}")
    return header


def _check_size(data: memoryview, header: elf.FileHeader) -> None:
    end = header.shoff + header.shnum * elf.SECTION_HEADER.size
    if end > len(data):
        raise _truncated(len(data), end)
    if end < len(data):
        raise _corrupted(f"the loadable ends after {end} bytes, the file has {len(data) - end} more")


def _program_headers(data: memoryview, header: elf.FileHeader) -> list[elf.ProgramHeader]:
    end = header.phoff + header.phnum * elf.PROGRAM_HEADER.size
    if not header.phnum or end > len(data):
        raise _corrupted(f"{header.phnum} program headers do not fit in the file")
    found = [elf.ProgramHeader(*row) for row in elf.PROGRAM_HEADER.iter_unpack(data[header.phoff : end])]
    for index, program in enumerate(found):
        if program.offset + program.filesz > len(data):
            raise _corrupted(f"program header {index} refers to bytes beyond the end of the file")
        if (program.type == elf.PT_NOTE) != (index == 0) or program.type not in (elf.PT_NOTE, elf.PT_LOAD):
            raise _corrupted(f"program header {index} has type {program.type}; expected one note, then load segments")
    return found


def _check_hash(data: memoryview, note_at: int, note: Note) -> None:
    hash_at = note_at + HASH_OFFSET
    digest = hashlib.sha256(data[:hash_at])
    digest.update(bytes(HASH_BYTES))
    digest.update(data[hash_at + HASH_BYTES :])
    if digest.digest() != note.content_hash:
        found, expected = digest.hexdigest()[:16], note.content_hash.hex()[:16]
        raise _corrupted(f"the loadable is damaged: the SHA-256 of its contents starts {found}, expected {expected}")


def _part(data: memoryview, offset: int, size: int, what: str) -> memoryview:
    if offset + size > len(data):
        raise _corrupted(f"the {what} refers to bytes beyond the end of the file")
    return data[offset : offset + size]


_KINDS = {SEGMENT_CODE: SegmentKind.CODE, SEGMENT_DATA: SegmentKind.DATA}


def _segment(data: memoryview, program: elf.ProgramHeader, row: SegmentRow, index: int) -> Segment:
    if row.kind not in _KINDS:
        raise _corrupted(f"segment {index} has the unknown kind {row.kind}")
    if (row.kind == SEGMENT_CODE) != bool(program.flags & elf.PF_X):
        raise _corrupted(f"segment {index}: its program header and the note disagree on whether it is code")
    if (row.address, row.file_bytes, row.memory_bytes) != (program.vaddr, program.filesz, program.memsz):
        raise _corrupted(f"segment {index}: its program header and the note disagree on its place or size")
    contents = data[program.offset : program.offset + program.filesz]
    return Segment(_KINDS[row.kind], program.vaddr, contents, program.memsz)


def _segments(data: memoryview, programs: Sequence[elf.ProgramHeader], note: Note) -> tuple[Segment, ...]:
    if len(programs) != len(note.segments):
        raise _corrupted(f"the note has {len(note.segments)} segments, the file {len(programs)}")
    pairs = zip(programs, note.segments, strict=True)
    return tuple(_segment(data, program, row, index) for index, (program, row) in enumerate(pairs))


def _check_canonical(data: memoryview, loadable: Loadable) -> None:
    image = layout(loadable)
    if image.size != len(data):
        raise _corrupted(f"the loadable's parts make {image.size} bytes, the file has {len(data)}")
    for offset, expected in image.small_parts():
        found = bytes(data[offset : offset + len(expected)])
        if offset == image.offsets[1]:
            found = found[:HASH_OFFSET] + bytes(HASH_BYTES) + found[HASH_OFFSET + HASH_BYTES :]
        if found != expected:
            first = next(at for at in range(len(expected)) if found[at] != expected[at])
            where = f"byte {offset + first:#x} of the file"
            raise _corrupted(f"{where} is {found[first]:#04x}, expected {expected[first]:#04x}")


def read_loadable(data: bytes | memoryview) -> Loadable:
    """The loadable in `data`; LoadableError says what is wrong with it. `data` must not change afterwards."""
    view = memoryview(data).cast("B")
    header = _file_header(view)
    _check_size(view, header)
    programs = _program_headers(view, header)
    note_at = programs[0].offset
    note = unpack_note(_part(view, note_at, programs[0].filesz, "identification note"))
    if note.file_bytes != len(view):
        raise _corrupted(f"the note says that the file has {note.file_bytes} bytes, it has {len(view)}")
    _check_hash(view, note_at, note)
    loadable = Loadable(
        machine_name=note.machine_name,
        machine_digest=note.machine_digest,
        entries=unpack_io(_part(view, note.io_offset, note.io_bytes, "entry table")),
        segments=_segments(view, programs[1:], note),
        meta=parse_meta(_part(view, note.meta_offset, note.meta_bytes, "metadata")),
        dram_size=note.dram_size,
    )
    _check_canonical(view, loadable)
    return loadable


def load_loadable(path: str | Path) -> Loadable:
    """The loadable in the file at `path`; messages name the file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    try:
        return read_loadable(data)
    except LoadableError as error:
        raise LoadableError(f"{path}: {error}", error.damage) from None
