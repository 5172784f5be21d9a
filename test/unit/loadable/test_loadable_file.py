"""Writing and reading loadables: round trips, determinism, independent readers, every kind of damage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.loadable import elf
from atalla_mlir.loadable.format import Damage, Entry, Loadable, LoadableError, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.reader import load_loadable, read_loadable
from atalla_mlir.loadable.records import HASH_BYTES, HASH_OFFSET
from atalla_mlir.loadable.writer import save_loadable, write_loadable
from atalla_mlir.target.machine import AX01

NOP_PACKET = bytes.fromhex("3100000000") * 4
META: dict[str, Any] = {
    "steps": [
        {"kind": "device", "entry": "main", "inputs": ["x"], "outputs": ["y"]},
        {"kind": "host", "target": "aten.sin.default", "args": [], "kwargs": {}, "outputs": ["z"], "reason": "none"},
    ],
    "inputs": ["x"],
    "outputs": ["z"],
    "kernels": [{"name": "k", "entry": "main", "function": "kernel", "launch_pc": 20, "return_pc": 40}],
    "functions": {"kernel": [0, 20], "mäin": [20, 80]},
    "constants": [{"name": "w", "address": 0x1000, "bytes": 8}],
    "source_map": {"sources": ["m.py:3"], "ranges": [[0, 20, 0], [40, 60, 0]]},
    "other": {"ratio": 0.1, "text": "ü"},
}


def example(**changes: Any) -> Loadable:
    x = TensorSpec("x", "bf16", (2, 3), (32, 1), 0x2000, "f32")
    y = TensorSpec("ÿ", "i32", (), (), 0x3000, "i64")
    fields: dict[str, Any] = {
        "machine_name": "ax01",
        "machine_digest": AX01.digest(),
        "entries": (Entry("main", 20, (x,), (y,)),),
        "segments": (
            Segment(SegmentKind.DATA, 0x1003, memoryview(b"abcdefg")),
            Segment(SegmentKind.CODE, 0, memoryview(NOP_PACKET * 4)),
            Segment(SegmentKind.DATA, 0x2000, size=0x2000),
        ),
        "meta": META,
        "dram_size": 0x4000,
    }
    return Loadable(**{**fields, **changes})


BLOB = write_loadable(example())


def resealed(data: bytes) -> bytes:
    """`data` with the hash that belongs to it, as a forger would leave it."""
    note_at = struct.unpack_from("<I", data, elf.FILE_HEADER.size + 4)[0]
    hash_at = note_at + HASH_OFFSET
    if hash_at + HASH_BYTES > len(data):
        return data
    blank = data[:hash_at] + bytes(HASH_BYTES) + data[hash_at + HASH_BYTES :]
    return blank[:hash_at] + hashlib.sha256(blank).digest() + blank[hash_at + HASH_BYTES :]


def section(name: str) -> Any:
    """A section of the example as pyelftools sees it."""
    found = ELFFile(io.BytesIO(BLOB)).get_section_by_name(name)
    assert found is not None, name
    return found


def damage(data: bytes) -> Damage:
    with pytest.raises(LoadableError) as error:
        read_loadable(data)
    assert str(error.value)[-1:] not in ("", ".")
    return error.value.damage


def test_round_trip() -> None:
    loadable = read_loadable(BLOB)
    assert loadable == example()
    assert write_loadable(loadable) == BLOB
    assert [segment.kind for segment in loadable.segments] == ["code", "data", "data"]


def test_segments_are_views_of_the_file() -> None:
    segment = read_loadable(BLOB).segments[0]
    assert segment.data.obj is BLOB


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "example.atalla"
    save_loadable(example(), path)
    assert path.read_bytes() == BLOB
    assert load_loadable(path) == example()
    path.write_bytes(BLOB[:-1])
    with pytest.raises(LoadableError, match=f"^{path}: the loadable is truncated: "):
        load_loadable(path)
    with pytest.raises(BadInputError, match=r"^cannot read .*: no such file or directory$"):
        load_loadable(tmp_path / "nothing")


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    code = "import sys; from test_loadable_file import BLOB; sys.stdout.buffer.write(BLOB)"
    for seed in ("0", "1"):
        path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert result.stdout == BLOB


def test_bytes_do_not_depend_on_the_order_of_segments_and_keys() -> None:
    meta = dict(reversed(META.items()))
    assert write_loadable(example(segments=tuple(reversed(example().segments)), meta=meta)) == BLOB


def test_pyelftools_reads_it() -> None:
    file = ELFFile(io.BytesIO(BLOB))
    assert (file["e_machine"], file["e_type"], file.elfclass, file.little_endian) == (0x270F, "ET_EXEC", 32, True)
    note, *loads = file.iter_segments()
    assert note["p_type"] == "PT_NOTE"
    assert [(load["p_vaddr"], load["p_filesz"], load["p_memsz"], load["p_flags"]) for load in loads] == [
        (0, 80, 80, 5),
        (0x1003, 7, 7, 6),
        (0x2000, 0, 0x2000, 6),
    ]
    assert [load.data() for load in loads] == [NOP_PACKET * 4, b"abcdefg", b""]
    names = [section.name for section in file.iter_sections()]
    assert names[1:4] == [".note.atalla", ".atalla.io", ".atalla.meta"]
    assert json.loads(section(".atalla.meta").data()) == META
    symbols = {symbol.name: symbol for symbol in section(".symtab").iter_symbols()}
    assert (symbols["mäin"]["st_value"], symbols["mäin"]["st_size"]) == (20, 60)
    assert symbols["main"]["st_info"]["type"] == "STT_FUNC"
    assert file.get_section(symbols["kernel"]["st_shndx"]).name == ".text"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils is not installed")
def test_readelf_has_no_complaints(tmp_path: Path) -> None:
    path = tmp_path / "example.atalla"
    path.write_bytes(BLOB)
    result = subprocess.run(["readelf", "-aW", path], capture_output=True, check=True)
    assert result.stderr == b""
    assert b"Warning" not in result.stdout
    result = subprocess.run(["objdump", "-h", path], capture_output=True, check=True)
    assert result.stderr == b""
    assert b".atalla.meta" in result.stdout


def test_every_truncation_is_found() -> None:
    assert damage(b"") is Damage.NOT_A_LOADABLE
    for size in range(4, len(BLOB)):
        assert damage(BLOB[:size]) is Damage.TRUNCATED, size
    assert damage(BLOB + b"\0") is Damage.CORRUPTED


def test_every_flipped_bit_is_found() -> None:
    for at in range(len(BLOB)):
        data = bytearray(BLOB)
        data[at] ^= 1 << (at % 8)
        damage(bytes(data))
    headers = elf.FILE_HEADER.size + 4 * elf.PROGRAM_HEADER.size
    for bit in range(headers * 8):
        data = bytearray(BLOB)
        data[bit // 8] ^= 1 << bit % 8
        damage(bytes(data))


def test_forged_bits_give_a_loadable_or_a_loadable_error() -> None:
    """With a matching hash only the meaning of fields can be wrong: contents may change, structure may not."""
    contents: dict[int, range] = {}
    file = ELFFile(io.BytesIO(BLOB))
    for number, load in enumerate(list(file.iter_segments())[1:]):
        contents[number] = range(load["p_offset"], load["p_offset"] + load["p_filesz"])
    accepted = 0
    for bit in range(len(BLOB) * 8):
        data = bytearray(BLOB)
        data[bit // 8] ^= 1 << bit % 8
        try:
            read = read_loadable(resealed(bytes(data)))
        except LoadableError:
            assert not any(bit // 8 in place for place in contents.values())
        else:
            accepted += 1
            assert write_loadable(read) == resealed(bytes(data))
    assert accepted >= 87 * 8


def test_forged_bytes_give_a_loadable_or_a_loadable_error() -> None:
    random_numbers = random.Random(3)
    for _ in range(3000):
        data = bytearray(BLOB)
        for _ in range(random_numbers.randrange(1, 4)):
            at, size = random_numbers.randrange(len(data)), random_numbers.choice((1, 4))
            data[at : at + size] = random_numbers.choice((b"\xff", b"\0", b"\x80", b"\x7f")) * size
        with contextlib.suppress(LoadableError):
            read_loadable(resealed(bytes(data[: len(BLOB)])))


def patched(offset: int, value: bytes) -> bytes:
    return BLOB[:offset] + value + BLOB[offset + len(value) :]


def test_messages_of_damaged_headers() -> None:
    note_at = section(".note.atalla")["sh_offset"]
    cases = [
        (b"hello", Damage.NOT_A_LOADABLE, "not a loadable: the file does not start as an ELF file"),
        (
            patched(4, b"\x02"),
            Damage.NOT_A_LOADABLE,
            "not a loadable: expected a 32-bit little-endian ELF file, got class 2, data encoding 1, version 1",
        ),
        (
            patched(18, b"\x3e\0"),
            Damage.WRONG_MACHINE,
            "the ELF file is for machine 0x3e, not for the Atalla Ax01 (0x270f)",
        ),
        (patched(16, b"\x03\0"), Damage.CORRUPTED, "field e_type of the ELF header is 0x3; a loadable has 0x2"),
        (
            BLOB[:1000],
            Damage.TRUNCATED,
            f"the loadable is truncated: it has 1000 of {len(BLOB)} bytes",
        ),
        (
            patched(note_at + HASH_OFFSET - 4, b"\x02\0"),
            Damage.WRONG_VERSION,
            "the loadable has format version 2.0, this atalla-mlir reads 1.0; update atalla-mlir",
        ),
        (
            patched(note_at + HASH_OFFSET - 4, b"\0\0\x05\0"),
            Damage.WRONG_VERSION,
            "the loadable has format version 0.5, this atalla-mlir reads 1.0; compile the model again",
        ),
    ]
    for data, kind, message in cases:
        with pytest.raises(LoadableError) as error:
            read_loadable(data)
        assert (error.value.damage, str(error.value)) == (kind, message)
    with pytest.raises(LoadableError, match="^the loadable is damaged: the SHA-256 of its contents starts "):
        read_loadable(patched(len(BLOB) // 2, b"\x01\x02\x03"))


TENSOR = TensorSpec("t", "bf16", (4,), (1,), 0x2000, "f32")


def code(address: int = 0, size: int = 20) -> Segment:
    return Segment(SegmentKind.CODE, address, memoryview(bytes(size)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: example(dram_size=0x1000),
            "the data segment at 0x1003 of 7 bytes ends beyond the program's DRAM of 4096 bytes",
        ),
        (lambda: example(machine_digest="ab"), "the machine digest 'ab' is not 64 lower-case hexadecimal digits"),
        (lambda: example(machine_name=""), "the machine has an empty name"),
        (
            lambda: example(segments=(code(0, 60), code(40))),
            "the code segment at 0x0 of 60 bytes overlaps the code segment at 0x28 of 20 bytes",
        ),
        (lambda: example(segments=()), "entry 'main' starts at PC 0x14, not a packet of the code"),
        (
            lambda: example(entries=(Entry("e", 0, (TensorSpec("t", "bf16", (4,), (1,), 0x3FFC, "f32"),), ()),)),
            "tensor 't' of entry 'e' lies at 0x3ffc..0x4004, beyond the program's DRAM of 16384 bytes",
        ),
        (lambda: example(entries=(Entry("e", 0, (), ()),) * 2), "two entries are called 'e'"),
        (lambda: Entry("e", 0, (TENSOR, TENSOR), ()), "two inputs of entry 'e' are called 't'"),
        (lambda: code(10), "the code segment at 0xa of 20 bytes is not made of whole packets of 20 bytes"),
        (lambda: Segment(SegmentKind.CODE, 0, size=20), "the code segment at 0x0 of 20 bytes has no contents"),
        (lambda: Segment(SegmentKind.DATA, 16), "the data segment at 0x10 is empty"),
        (
            lambda: Segment(SegmentKind.DATA, 0, memoryview(b"ab"), 4),
            "the data segment at 0x0 of 4 bytes has 2 bytes of data; a segment has all of its bytes or none",
        ),
        (
            lambda: TensorSpec("t", "f8", (), (), 0, "f32"),
            "tensor 't' has the unknown element type 'f8'; there are bf16, f16, f32, f64, i1, i8, u8, i16, i32, i64",
        ),
        (lambda: TensorSpec("t", "i32", (2,), (), 0, "f32"), "tensor 't' has 1 dimensions but 0 strides"),
        (lambda: TensorSpec("t", "i32", (), (), 2, "i64"), "tensor 't' of i32 is at 0x2, not a multiple of 4"),
        (
            lambda: TensorSpec("t", "i32", (1,) * 9, (1,) * 9, 0, "i64"),
            "tensor 't' has 9 dimensions; a loadable holds at most 8",
        ),
        (lambda: TensorSpec("\ud800", "i32", (), (), 0, "i64"), "a tensor '\\ud800' has a name that UTF-8 cannot hold"),
    ],
)
def test_contradictions(make: Any, message: str) -> None:
    with pytest.raises(LoadableError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", 3, "metadata steps: expected a list, got 3"),
        ("steps", [{"kind": "gpu"}], "metadata steps[0].kind: expected 'device' or 'host', got 'gpu'"),
        ("steps", [{"kind": "host", "outputs": []}], "metadata steps[0]: lacks 'target'"),
        (
            "steps",
            [{"kind": "device", "entry": "main", "inputs": [], "outputs": ["y"]}],
            "metadata steps[0].inputs: expected 1 names for entry 'main', got []",
        ),
        (
            "steps",
            [{"kind": "device", "entry": "else", "inputs": [], "outputs": []}],
            "metadata steps[0].entry: expected the name of an entry, got 'else'",
        ),
        ("entry_points", [{}], "metadata entry_points[0]: lacks 'name'"),
        (
            "entry_points",
            [{"name": "one", "steps": [], "inputs": [], "outputs": []}] * 2,
            "metadata entry_points[1].name: expected a name of its own, got 'one'",
        ),
        (
            "entry_points",
            [{"name": "one", "steps": [{"kind": "gpu"}], "inputs": [], "outputs": []}],
            "metadata entry_points[0].steps[0].kind: expected 'device' or 'host', got 'gpu'",
        ),
        ("inputs", ["a", 1], "metadata inputs[1]: expected a string, got 1"),
        (
            "kernels",
            [{**META["kernels"][0], "launch_pc": 21}],
            "metadata kernels[0].launch_pc: expected the address of a packet of the code, got 21",
        ),
        ("functions", {"f": [20]}, "metadata functions.f: expected [first PC, PC after the last packet], got [20]"),
        ("functions", {"f": [20, 100]}, "metadata functions.f[1]: expected the end of packets from 0x14 on, got 100"),
        (
            "source_map",
            {"sources": [], "ranges": [[0, 20, 0]]},
            "metadata source_map.ranges[0]: expected an ascending range and a source of the table, got [0, 20, 0]",
        ),
        (
            "constants",
            [{"name": "w", "address": 0x3FFF, "bytes": 2}],
            "metadata constants[0]: expected a place in the program's DRAM of 16384 bytes, "
            "got {'name': 'w', 'address': 16383, 'bytes': 2}",
        ),
    ],
)
def test_metadata_that_contradicts_the_program(key: str, value: Any, message: str) -> None:
    with pytest.raises(LoadableError) as error:
        write_loadable(example(meta={**META, key: value}))
    assert str(error.value) == message


def test_metadata_that_json_cannot_hold() -> None:
    for value in (float("nan"), {1, 2}, b"bytes"):
        with pytest.raises(LoadableError, match="^the metadata cannot be written as JSON: "):
            write_loadable(example(meta={"key": value}))


def test_unknown_entry() -> None:
    with pytest.raises(AtallaError, match="^the program has no entry 'other'; there are main$"):
        example().entry("other")
