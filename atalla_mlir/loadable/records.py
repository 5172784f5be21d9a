"""The fixed binary records of a loadable: the identification note and the entry table (`.atalla.io`).

All numbers are 32-bit little-endian unless said otherwise. Readers check every count and offset against the bytes
that are there before they use it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.loadable import elf
from atalla_mlir.loadable.format import (
    DTYPE_BYTES,
    FORMAT_VERSION,
    MAX_RANK,
    Damage,
    Entry,
    LoadableError,
    TensorSpec,
    Version,
)

NOTE_NAME = b"Atalla\0"
NOTE_TYPE = elf.MACHINE
HASH_BYTES = 32

_DTYPES = tuple(DTYPE_BYTES)
_NOTE_FIXED = struct.Struct(f"<HH{HASH_BYTES}s{HASH_BYTES}sQ7I")
_SEGMENT = struct.Struct("<4I")
_IO_HEADER = struct.Struct("<3I")
_IO_ENTRY = struct.Struct("<6I")
_IO_TENSOR = struct.Struct(f"<{6 + 2 * MAX_RANK}I")
# Version (4 bytes) comes first in the descriptor, then the hash, so that both keep their place in every version.
NOTE_DESCRIPTOR_OFFSET = elf.NOTE_HEADER.size + elf.aligned(len(NOTE_NAME))
HASH_OFFSET = NOTE_DESCRIPTOR_OFFSET + 4

SEGMENT_CODE = 1
SEGMENT_DATA = 2


@dataclass(frozen=True)
class SegmentRow:
    """A row of the note's segment table; `kind` is SEGMENT_CODE or SEGMENT_DATA, sizes are bytes."""

    kind: int
    address: int
    file_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Note:
    """The descriptor of `.note.atalla`; offsets and sizes are bytes of the file."""

    content_hash: bytes
    machine_name: str
    machine_digest: str
    dram_size: int
    file_bytes: int
    io_offset: int
    io_bytes: int
    meta_offset: int
    meta_bytes: int
    segments: tuple[SegmentRow, ...]


def pack_note(note: Note) -> bytes:
    """The complete ELF note."""
    name = note.machine_name.encode()
    fixed = _NOTE_FIXED.pack(
        *FORMAT_VERSION,
        note.content_hash,
        bytes.fromhex(note.machine_digest),
        note.dram_size,
        note.file_bytes,
        note.io_offset,
        note.io_bytes,
        note.meta_offset,
        note.meta_bytes,
        len(note.segments),
        len(name),
    )
    table = b"".join(_SEGMENT.pack(row.kind, row.address, row.file_bytes, row.memory_bytes) for row in note.segments)
    descriptor = fixed + table + name.ljust(elf.aligned(len(name)), b"\0")
    header = elf.NOTE_HEADER.pack(len(NOTE_NAME), len(descriptor), NOTE_TYPE)
    return header + NOTE_NAME.ljust(elf.aligned(len(NOTE_NAME)), b"\0") + descriptor


def _invalid(message: str) -> LoadableError:
    return LoadableError(message, Damage.CORRUPTED)


def check_version(version: Version) -> None:
    """WRONG_VERSION unless this package reads files of format `version`."""
    if version.major == FORMAT_VERSION.major and version.minor <= FORMAT_VERSION.minor:
        return
    way_out = "update atalla-mlir" if version > FORMAT_VERSION else "compile the model again"
    raise LoadableError(
        f"the loadable has format version {version}, this atalla-mlir reads {FORMAT_VERSION}; {way_out}",
        Damage.WRONG_VERSION,
    )


def unpack_note(note: memoryview) -> Note:
    """The note, its version checked first."""
    if len(note) < NOTE_DESCRIPTOR_OFFSET + _NOTE_FIXED.size:
        raise _invalid(f"the identification note has {len(note)} bytes, too few for its fixed part")
    name_bytes, descriptor_bytes, note_type = elf.NOTE_HEADER.unpack_from(note)
    name = bytes(note[elf.NOTE_HEADER.size : NOTE_DESCRIPTOR_OFFSET])
    if (name_bytes, name, note_type) != (len(NOTE_NAME), NOTE_NAME.ljust(len(name), b"\0"), NOTE_TYPE):
        raise _invalid("the first ELF note is not the identification note of an atalla loadable")
    if descriptor_bytes != len(note) - NOTE_DESCRIPTOR_OFFSET:
        raise _invalid(f"the note says {descriptor_bytes} bytes but has {len(note) - NOTE_DESCRIPTOR_OFFSET}")
    fixed = _NOTE_FIXED.unpack_from(note, NOTE_DESCRIPTOR_OFFSET)
    check_version(Version(*fixed[:2]))
    content_hash, digest, dram_size = fixed[2:5]
    file_bytes, io_offset, io_bytes, meta_offset, meta_bytes, num_segments, machine_bytes = fixed[5:]
    table = note[NOTE_DESCRIPTOR_OFFSET + _NOTE_FIXED.size :]
    if num_segments * _SEGMENT.size + elf.aligned(machine_bytes) != len(table):
        raise _invalid(f"the identification note has no room for its {num_segments} segments and the machine's name")
    rows = tuple(SegmentRow(*row) for row in _SEGMENT.iter_unpack(table[: num_segments * _SEGMENT.size]))
    start = num_segments * _SEGMENT.size
    machine = _text(table[start : start + machine_bytes], "the machine's name")
    return Note(
        content_hash, machine, digest.hex(), dram_size, file_bytes, io_offset, io_bytes, meta_offset, meta_bytes, rows
    )


def _text(data: memoryview, what: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"{what} is not UTF-8 at its byte {error.start}") from None


class _Strings:
    """Strings of the entry table in the order of their use."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, text: str) -> tuple[int, int]:
        encoded = text.encode()
        offset = len(self.data)
        self.data += encoded
        return offset, len(encoded)


def _pack_tensor(spec: TensorSpec, strings: _Strings) -> bytes:
    def row(values: tuple[int, ...]) -> tuple[int, ...]:
        return values + (0,) * (MAX_RANK - len(values))

    return _IO_TENSOR.pack(
        *strings.add(spec.name),
        _DTYPES.index(spec.dtype),
        _DTYPES.index(spec.model_dtype),
        spec.address,
        len(spec.shape),
        *row(spec.shape),
        *row(spec.strides),
    )


def pack_io(entries: Sequence[Entry]) -> bytes:
    """The entry table: header, entry records, tensor records (inputs then outputs of each entry), strings."""
    strings = _Strings()
    entry_records: list[bytes] = []
    tensor_records: list[bytes] = []
    for entry in entries:
        counts = (len(tensor_records), len(entry.inputs), len(entry.outputs))
        entry_records.append(_IO_ENTRY.pack(*strings.add(entry.name), entry.pc, *counts))
        tensor_records += [_pack_tensor(spec, strings) for spec in (*entry.inputs, *entry.outputs)]
    header = _IO_HEADER.pack(len(entry_records), len(tensor_records), len(strings.data))
    return header + b"".join(entry_records) + b"".join(tensor_records) + bytes(strings.data)


class _IoReader:
    """Bounds-checked access to the three parts of an entry table."""

    def __init__(self, data: memoryview) -> None:
        if len(data) < _IO_HEADER.size:
            raise _invalid(f"the entry table has {len(data)} bytes, too few for its header")
        num_entries, num_tensors, string_bytes = _IO_HEADER.unpack_from(data)
        tensors_at = _IO_HEADER.size + num_entries * _IO_ENTRY.size
        strings_at = tensors_at + num_tensors * _IO_TENSOR.size
        if strings_at + string_bytes != len(data):
            raise _invalid(
                f"an entry table of {num_entries} entries, {num_tensors} tensors and {string_bytes} bytes of names "
                f"does not have {len(data)} bytes"
            )
        self._entries = data[_IO_HEADER.size : tensors_at]
        self._tensors = data[tensors_at:strings_at]
        self._strings = data[strings_at:]
        self._num_tensors = num_tensors

    def _name(self, offset: int, size: int, what: str) -> str:
        if offset + size > len(self._strings):
            raise _invalid(f"{what} has a name outside the entry table's strings")
        return _text(self._strings[offset : offset + size], f"the name of {what}")

    def _tensor(self, index: int, entry: str) -> TensorSpec:
        what = f"tensor {index} of entry '{entry}'"
        record: tuple[int, ...] = _IO_TENSOR.unpack_from(self._tensors, index * _IO_TENSOR.size)
        name_at, name_bytes, dtype, model_dtype, address, rank, *sizes = record
        if dtype >= len(_DTYPES) or model_dtype >= len(_DTYPES):
            raise _invalid(f"{what} has the unknown element type code {max(dtype, model_dtype)}")
        if rank > MAX_RANK:
            raise _invalid(f"{what} has {rank} dimensions; a loadable holds at most {MAX_RANK}")
        shape, strides = tuple(sizes[:rank]), tuple(sizes[MAX_RANK : MAX_RANK + rank])
        name = self._name(name_at, name_bytes, what)
        return TensorSpec(name, _DTYPES[dtype], shape, strides, address, _DTYPES[model_dtype])

    def entries(self) -> tuple[Entry, ...]:
        found: list[Entry] = []
        for index, record in enumerate(_IO_ENTRY.iter_unpack(self._entries)):
            name_at, name_bytes, pc, first, num_inputs, num_outputs = record
            name = self._name(name_at, name_bytes, f"entry {index}")
            if first + num_inputs + num_outputs > self._num_tensors:
                raise _invalid(f"entry '{name}' has tensors outside the entry table")
            specs = tuple(self._tensor(first + offset, name) for offset in range(num_inputs + num_outputs))
            found.append(Entry(name, pc, specs[:num_inputs], specs[num_inputs:]))
        return tuple(found)


def unpack_io(data: memoryview) -> tuple[Entry, ...]:
    """The entries of an entry table."""
    return _IoReader(data).entries()
