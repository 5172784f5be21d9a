"""Assembly text to loadables; `assembly_text` describes the form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.loadable.format import Entry, Loadable, LoadableError, Segment, SegmentKind, TensorSpec, Version
from atalla_mlir.loadable.records import check_version
from atalla_mlir.mc import parse
from atalla_mlir.target.machine import AX01
from atalla_mlir.translate.assembly_text import MARK

_UNIT_BYTES = {".word": 4, ".half": 2, ".byte": 1}


@dataclass
class _Section:
    """A segment of code or data: the lines (counted from 1) that describe its contents."""

    kind: SegmentKind
    address: int
    line: int
    lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


@dataclass
class _EntryText:
    line: int
    name: str
    pc: int | str
    inputs: list[TensorSpec] = field(default_factory=list[TensorSpec])
    outputs: list[TensorSpec] = field(default_factory=list[TensorSpec])


class _Reader:
    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._machine = (AX01.name, AX01.digest())
        self._dram_size = 0
        self._entries: list[_EntryText] = []
        self._meta: dict[str, Any] = {}
        self._sections: list[_Section] = []
        self._segments: list[Segment] = []
        self._labels: dict[str, int] = {}

    def fail(self, line: int, message: str) -> NoReturn:
        raise BadInputError(f"{self._filename}:{line}: error: {message}")

    def read(self, text: str) -> Loadable:
        if not any(line.startswith(MARK) for line in text.split("\n")):
            return self._plain(text)
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith(MARK):
                self._marked(number, line.removeprefix(MARK).strip())
            elif self._sections:
                self._sections[-1].lines.append((number, line))
            elif line.split("#", 1)[0].strip():
                self.fail(number, f"code or data before the first '{MARK} code' or '{MARK} data'")
        for section in self._sections:
            build = self._code if section.kind is SegmentKind.CODE else self._data
            self._segments.append(build(section))
        ends = [segment.end for segment in self._segments if segment.kind is SegmentKind.DATA]
        return Loadable(
            machine_name=self._machine[0],
            machine_digest=self._machine[1],
            entries=self._resolved_entries(),
            segments=tuple(self._segments),
            meta=self._meta,
            dram_size=max(self._dram_size, *ends, 0),
        )

    def _plain(self, text: str) -> Loadable:
        """Assembly without marks: code at PC 0, data, and an entry at label `main` or else at the start."""
        assembly = parse.assemble(text, self._filename)
        if not assembly.code:
            self.fail(1, "no instructions")
        data = [Segment(SegmentKind.DATA, at, memoryview(data)) for at, data in assembly.data.items() if data]
        return Loadable(
            machine_name=AX01.name,
            machine_digest=AX01.digest(),
            entries=(Entry("main", assembly.labels.get("main", 0), (), ()),),
            segments=(Segment(SegmentKind.CODE, 0, memoryview(assembly.code)), *data),
            meta={},
            dram_size=max((segment.end for segment in data), default=0),
        )

    # Marked lines

    def _marked(self, number: int, text: str) -> None:
        kind, _, rest = text.partition(" ")
        handler = {
            "loadable": self._version,
            "machine": self._read_machine,
            "dram": self._read_dram,
            "entry": self._read_entry,
            "input": self._read_tensor,
            "output": self._read_tensor,
            "meta": self._read_meta,
            "code": self._start_section,
            "data": self._start_section,
            "zero": self._read_zero,
        }.get(kind)
        if handler is None:
            self.fail(number, f"unknown line '{MARK} {kind}'")
        try:
            handler(number, kind, rest.strip())
        except AtallaError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.fail(number, f"malformed line '{MARK} {kind}': {error}")

    def _version(self, number: int, kind: str, rest: str) -> None:
        major, minor = rest.split(".")
        check_version(Version(int(major), int(minor)))

    def _read_machine(self, number: int, kind: str, rest: str) -> None:
        name, digest = rest.rsplit(" ", 1)
        self._machine = (json.loads(name), digest)

    def _read_dram(self, number: int, kind: str, rest: str) -> None:
        self._dram_size = int(rest, 0)

    def _read_entry(self, number: int, kind: str, rest: str) -> None:
        row = json.loads(rest)
        self._entries.append(_EntryText(number, row["name"], row["pc"]))

    def _read_tensor(self, number: int, kind: str, rest: str) -> None:
        if not self._entries:
            self.fail(number, f"an {kind} before the first entry")
        row = json.loads(rest)
        row.update(shape=tuple(row["shape"]), strides=tuple(row["strides"]))
        tensors = self._entries[-1].inputs if kind == "input" else self._entries[-1].outputs
        tensors.append(TensorSpec(**row))

    def _read_meta(self, number: int, kind: str, rest: str) -> None:
        decoder = json.JSONDecoder()
        key, end = decoder.raw_decode(rest)
        self._meta[key] = json.loads(rest[end:])

    def _start_section(self, number: int, kind: str, rest: str) -> None:
        self._sections.append(_Section(SegmentKind(kind), int(rest, 0), number))

    def _read_zero(self, number: int, kind: str, rest: str) -> None:
        address, size = rest.split()
        self._segments.append(Segment(SegmentKind.DATA, int(address, 0), size=int(size, 0)))

    # Sections

    def _code(self, section: _Section) -> Segment:
        """Assembled with blank lines before it, so that errors have the line numbers of the file."""
        lines = dict(section.lines)
        text = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))
        assembly = parse.assemble(text, self._filename, base=section.address, check=False)
        if assembly.data:
            self.fail(section.line, f"data inside a segment of code; start it with '{MARK} data ADDRESS'")
        if not assembly.code:
            self.fail(section.line, "a segment of code without instructions")
        self._labels.update(assembly.labels)
        return Segment(SegmentKind.CODE, section.address, memoryview(assembly.code))

    def _data(self, section: _Section) -> Segment:
        contents = bytearray()
        for number, line in section.lines:
            directive, _, rest = line.split("#", 1)[0].strip().partition(" ")
            try:
                contents += self._data_line(section, number, directive.lower(), rest)
            except (ValueError, OverflowError) as error:
                self.fail(number, f"malformed data: {error}")
        if not contents:
            self.fail(section.line, "a segment of data without contents")
        return Segment(SegmentKind.DATA, section.address, memoryview(bytes(contents)))

    def _data_line(self, section: _Section, number: int, directive: str, rest: str) -> bytes:
        if not directive or (directive == ".data" and int(rest, 0) == section.address):
            return b""
        if directive == ".space":
            return bytes(int(rest, 0))
        if directive not in _UNIT_BYTES:
            self.fail(number, f"'{directive}' in a segment of data; expected .word, .half, .byte or .space")
        size = _UNIT_BYTES[directive]
        return b"".join(
            value.to_bytes(size, "little", signed=value < 0) for value in (int(part, 0) for part in rest.split(","))
        )

    def _resolved_entries(self) -> tuple[Entry, ...]:
        return tuple(self._entry(entry) for entry in self._entries)

    def _entry(self, entry: _EntryText) -> Entry:
        pc = entry.pc if isinstance(entry.pc, int) else self._labels.get(entry.pc)
        if pc is None:
            self.fail(entry.line, f"entry '{entry.name}' starts at the undefined label '{entry.pc}'")
        return Entry(entry.name, pc, tuple(entry.inputs), tuple(entry.outputs))


def assemble(text: str, filename: str = "<string>") -> Loadable:
    """The loadable that `text` describes; errors start with the file and, where there is one, the line."""
    try:
        return _Reader(filename).read(text)
    except LoadableError as error:
        raise LoadableError(f"{filename}: {error}", error.damage) from None
