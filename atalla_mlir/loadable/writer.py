"""Loadables to ELF files.

The file is laid out as: ELF header, program headers, note, entry table, metadata, symbols and strings, segments,
section headers. The section headers come last so that a file cut short anywhere lacks them. Equal loadables give
equal bytes; the contents of segments are referenced, not copied, until they are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atalla_mlir.errors import LimitError
from atalla_mlir.loadable import elf
from atalla_mlir.loadable.format import Loadable, Segment, SegmentKind
from atalla_mlir.loadable.metadata import check_meta, dump_meta
from atalla_mlir.loadable.records import (
    HASH_BYTES,
    HASH_OFFSET,
    SEGMENT_CODE,
    SEGMENT_DATA,
    Note,
    SegmentRow,
    pack_io,
    pack_note,
)

SEGMENT_ALIGNMENT = 64
"""Segments lie at file offsets that equal their addresses modulo this, in bytes."""
_MAX_FILE_BYTES = (1 << 32) - 1

Buffer = bytes | memoryview


@dataclass(frozen=True)
class _Section:
    name: str
    type: int
    data: Buffer = b""
    flags: int = 0
    address: int = 0
    memory_bytes: int = 0
    """Size of a section without contents (SHT_NOBITS)."""
    alignment: int = 1
    link: int = 0
    info: int = 0
    entry_bytes: int = 0


@dataclass
class Image:
    """The chunks of a file in order; `segments` marks those that are segment contents."""

    chunks: list[Buffer] = field(default_factory=list[Buffer])
    offsets: list[int] = field(default_factory=list[int])
    segments: set[int] = field(default_factory=set[int])
    size: int = 0

    def append(self, chunk: Buffer, *, is_segment: bool = False) -> int:
        """The file offset at which `chunk` comes to lie."""
        if is_segment:
            self.segments.add(len(self.chunks))
        self.chunks.append(chunk)
        self.offsets.append(self.size)
        self.size += len(chunk)
        return self.offsets[-1]

    def pad(self, remainder: int, unit: int) -> None:
        """Zero bytes until the size modulo `unit` is `remainder`."""
        if missing := (remainder - self.size) % unit:
            self.append(bytes(missing))

    def small_parts(self) -> Iterator[tuple[int, Buffer]]:
        """Offset and bytes of everything but the segments' contents."""
        for index, (offset, chunk) in enumerate(zip(self.offsets, self.chunks, strict=True)):
            if index not in self.segments:
                yield offset, chunk


def _segment_sections(segments: Sequence[Segment]) -> list[_Section]:
    counts: dict[str, int] = {}
    sections: list[_Section] = []
    for segment in segments:
        base = ".text" if segment.kind is SegmentKind.CODE else ".bss" if segment.is_zero_fill else ".data"
        number = counts[base] = counts.get(base, -1) + 1
        executable = elf.SHF_EXECINSTR if segment.kind is SegmentKind.CODE else elf.SHF_WRITE
        sections.append(
            _Section(
                name=f"{base}.{number}" if number else base,
                type=elf.SHT_NOBITS if segment.is_zero_fill else elf.SHT_PROGBITS,
                data=segment.data,
                flags=elf.SHF_ALLOC | executable,
                address=segment.address,
                memory_bytes=segment.size,
            )
        )
    return sections


def _symbols(loadable: Loadable, first_section: int) -> list[tuple[str, elf.Symbol]]:
    """Functions, entries that are not among them, and constants, by address; the name offset is still 0."""
    functions = {str(name): (span[0], span[1] - span[0]) for name, span in loadable.meta.get("functions", {}).items()}
    for entry in loadable.entries:
        functions.setdefault(entry.name, (entry.pc, 0))
    found = [(SegmentKind.CODE, elf.STT_FUNC, name, *place) for name, place in functions.items()]
    found += [
        (SegmentKind.DATA, elf.STT_OBJECT, row["name"], row["address"], row["bytes"])
        for row in loadable.meta.get("constants", ())
    ]
    symbols: list[tuple[str, elf.Symbol]] = []
    for kind, type_, name, address, size in sorted(found):
        index = _containing(loadable.segments, kind, address)
        if index is not None:
            info = elf.STB_GLOBAL << 4 | type_
            symbols.append((name, elf.Symbol(0, address, size, info, 0, first_section + index)))
    return symbols


def _containing(segments: Sequence[Segment], kind: SegmentKind, address: int) -> int | None:
    for index, segment in enumerate(segments):
        if segment.kind is kind and segment.address <= address < segment.end:
            return index
    return None


def _symbol_sections(loadable: Loadable, first_section: int, string_section: int) -> tuple[_Section, _Section]:
    strings = elf.StringTable()
    table = bytearray(elf.SYMBOL.size)  # the null symbol
    for name, symbol in _symbols(loadable, first_section):
        table += elf.SYMBOL.pack(*symbol._replace(name=strings.add(name)))
    symtab = _Section(
        ".symtab",
        elf.SHT_SYMTAB,
        bytes(table),
        alignment=4,
        link=string_section,
        info=1,  # index of the first global symbol
        entry_bytes=elf.SYMBOL.size,
    )
    return symtab, _Section(".strtab", elf.SHT_STRTAB, bytes(strings))


class _Layout:
    """One file under construction."""

    def __init__(self, loadable: Loadable) -> None:
        self._loadable = loadable
        self._image = Image()
        self._headers: list[elf.SectionHeader] = [elf.SectionHeader(*(0,) * 10)]
        self._names = elf.StringTable()
        self._io = pack_io(loadable.entries)
        self._meta = dump_meta(loadable.meta)

    def build(self) -> Image:
        """All chunks; the hash in the note is still zero."""
        image, segments = self._image, self._loadable.segments
        num_programs = 1 + len(segments)
        if num_programs > elf.MAX_HEADERS - 8:
            raise LimitError(f"{len(segments)} segments do not fit in a loadable; at most {elf.MAX_HEADERS - 9} do")
        header_at = image.append(b"")
        programs_at = elf.FILE_HEADER.size
        image.size = programs_at + num_programs * elf.PROGRAM_HEADER.size
        note_at = image.size
        note_bytes = len(pack_note(self._note(bytes(HASH_BYTES), 0, 0, 0)))
        note_chunk = len(image.chunks)
        image.append(bytes(note_bytes))
        self._section(_Section(".note.atalla", elf.SHT_NOTE, alignment=4, memory_bytes=note_bytes), note_at)
        io_at = self._place(_Section(".atalla.io", elf.SHT_PROGBITS, self._io, alignment=4))
        meta_at = self._place(_Section(".atalla.meta", elf.SHT_PROGBITS, self._meta))
        for section in _symbol_sections(self._loadable, first_section=6, string_section=5):
            self._place(section)
        programs = [elf.ProgramHeader(elf.PT_NOTE, note_at, 0, 0, note_bytes, note_bytes, elf.PF_R, 4)]
        programs += self._place_segments()
        shoff = self._place_section_headers()
        self._check_size()
        image.chunks[note_chunk] = pack_note(self._note(bytes(HASH_BYTES), io_at, meta_at, image.size))
        image.chunks[header_at] = self._file_header(programs_at, num_programs, shoff) + b"".join(
            elf.PROGRAM_HEADER.pack(*program) for program in programs
        )
        return image

    def _note(self, content_hash: bytes, io_at: int, meta_at: int, file_bytes: int) -> Note:
        loadable = self._loadable
        rows = tuple(
            SegmentRow(
                SEGMENT_CODE if segment.kind is SegmentKind.CODE else SEGMENT_DATA,
                segment.address,
                len(segment.data),
                segment.size,
            )
            for segment in loadable.segments
        )
        return Note(
            content_hash=content_hash,
            machine_name=loadable.machine_name,
            machine_digest=loadable.machine_digest,
            dram_size=loadable.dram_size,
            file_bytes=file_bytes,
            io_offset=io_at,
            io_bytes=len(self._io),
            meta_offset=meta_at,
            meta_bytes=len(self._meta),
            segments=rows,
        )

    def _section(self, section: _Section, offset: int) -> None:
        self._headers.append(
            elf.SectionHeader(
                name=self._names.add(section.name),
                type=section.type,
                flags=section.flags,
                addr=section.address,
                offset=offset,
                size=len(section.data) or section.memory_bytes,
                link=section.link,
                info=section.info,
                addralign=section.alignment,
                entsize=section.entry_bytes,
            )
        )

    def _place(self, section: _Section) -> int:
        self._image.pad(0, section.alignment)
        offset = self._image.append(section.data)
        self._section(section, offset)
        return offset

    def _place_segments(self) -> list[elf.ProgramHeader]:
        programs: list[elf.ProgramHeader] = []
        segments = self._loadable.segments
        for segment, section in zip(segments, _segment_sections(segments), strict=True):
            if not segment.is_zero_fill:
                self._image.pad(segment.address % SEGMENT_ALIGNMENT, SEGMENT_ALIGNMENT)
            offset = self._image.append(segment.data, is_segment=True)
            self._section(section, offset)
            access = elf.PF_X if segment.kind is SegmentKind.CODE else elf.PF_W
            alignment = 1 if segment.is_zero_fill else SEGMENT_ALIGNMENT
            programs.append(
                elf.ProgramHeader(
                    type=elf.PT_LOAD,
                    offset=offset,
                    vaddr=segment.address,
                    paddr=segment.address,
                    filesz=len(segment.data),
                    memsz=segment.size,
                    flags=elf.PF_R | access,
                    align=alignment,
                )
            )
        return programs

    def _place_section_headers(self) -> int:
        self._names.add(".shstrtab")
        self._place(_Section(".shstrtab", elf.SHT_STRTAB, bytes(self._names)))
        self._image.pad(0, 4)
        return self._image.append(b"".join(elf.SECTION_HEADER.pack(*header) for header in self._headers))

    def _file_header(self, phoff: int, phnum: int, shoff: int) -> bytes:
        return elf.FILE_HEADER.pack(
            *elf.FileHeader(
                ident=elf.IDENT,
                type=elf.ET_EXEC,
                machine=elf.MACHINE,
                version=elf.EV_CURRENT,
                entry=0,
                phoff=phoff,
                shoff=shoff,
                flags=0,
                ehsize=elf.FILE_HEADER.size,
                phentsize=elf.PROGRAM_HEADER.size,
                phnum=phnum,
                shentsize=elf.SECTION_HEADER.size,
                shnum=len(self._headers),
                shstrndx=len(self._headers) - 1,
            )
        )

    def _check_size(self) -> None:
        if self._image.size > _MAX_FILE_BYTES:
            raise LimitError(f"the loadable would have {self._image.size} bytes; an ELF32 file has less than 4 GiB")


def layout(loadable: Loadable) -> Image:
    """The file of `loadable` with a zero hash; the loadable's metadata is checked first."""
    check_meta(loadable)
    return _Layout(loadable).build()


def _hashed(loadable: Loadable) -> list[Buffer]:
    image = layout(loadable)
    digest = hashlib.sha256()
    for chunk in image.chunks:
        digest.update(chunk)
    note = bytearray(image.chunks[1])
    note[HASH_OFFSET : HASH_OFFSET + HASH_BYTES] = digest.digest()
    image.chunks[1] = bytes(note)
    return image.chunks


def write_loadable(loadable: Loadable) -> bytes:
    """The bytes of the file; LoadableError when the metadata contradicts the program."""
    return b"".join(_hashed(loadable))


def save_loadable(loadable: Loadable, path: str | Path) -> None:
    """Write the file without putting it together in memory first."""
    chunks = _hashed(loadable)
    with open(path, "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
