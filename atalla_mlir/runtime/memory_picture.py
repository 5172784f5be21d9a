"""Pictures of a memory map, addresses to the right and launches downwards: as text, and as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from atalla_mlir.runtime.memory_map import CONSTANT, INPUT, OUTPUT, VALUE, Buffer, MemoryMap

TEXT_COLUMNS = 64
TEXT_ROWS = 32
"""Launches of a text picture; of more each line shows several."""
_COLOURS = {INPUT: "#59a14f", OUTPUT: "#e15759", VALUE: "#4e79a7", CONSTANT: "#bab0ac"}
_WIDTH, _MARGIN, _NAMES, _PADS = 720, 24, 220, 160
_LEAST_HEIGHT = 6
"""Pixels of a launch."""


def summary(memory: MemoryMap) -> str:
    """Two lines: DRAM and pads."""
    live = max(memory.live_bytes, default=0)
    lines = [
        f"DRAM: {memory.dram_bytes:,} bytes, of which {memory.bytes_of(CONSTANT):,} constants, "
        f"{memory.bytes_of(INPUT):,} inputs, {memory.arena_bytes:,} arena ({live:,} alive at once, "
        f"{memory.bytes_of(VALUE, OUTPUT):,} without reuse)"
    ]
    if memory.most_pad_rows:
        rows = ", ".join(f"{rows:,}" for rows in memory.most_pad_rows)
        kept = sum(memory.kept_bytes)
        stay = f"; {kept:,} bytes between products stay in them" if kept else ""
        lines.append(f"pads: at most {rows} of {memory.rows_per_pad:,} rows{stay}")
    return "\n".join(lines)


def text(memory: MemoryMap, columns: int = TEXT_COLUMNS, rows: int = TEXT_ROWS) -> str:
    """The arena launch by launch: `#` alive, `+` stored by this launch, `.` free; then live bytes and rows of pads."""
    low, high = memory.arena
    places = [buffer for buffer in memory.buffers if buffer.kind in (VALUE, OUTPUT)]
    cell = max(1, -(-(high - low) // columns))
    step = -(-len(memory.kernels) // rows) if memory.kernels else 1
    live = memory.live_bytes
    lines = [f"arena of {high - low:,} bytes from {low:#x}, {cell:,} bytes a column; + stored, # alive, . free"]
    for at in range(0, len(memory.kernels), step):
        group = range(at, min(at + step, len(memory.kernels)))
        line = ["."] * columns
        for buffer in places:
            if any(map(buffer.is_alive, group)):
                mark = "+" if buffer.first in group else "#"
                for column in range((buffer.address - low) // cell, -(-(buffer.end - low) // cell)):
                    line[column] = mark
        pads = [max(used) for used in zip(*(memory.pad_rows[k] for k in group if memory.pad_rows[k]), strict=True)]
        name = memory.kernels[at] if step == 1 else f"{memory.kernels[at]} .."
        used = "/".join(map(str, pads))
        lines.append(f"{''.join(line)} {max(live[k] for k in group):>12,} {used:>19}  {name}")
    return "\n".join(lines)


def svg(memory: MemoryMap, title: str) -> str:
    """One box for each buffer, from its first to its last launch; on the right the rows of pads as bars."""
    height = max(_LEAST_HEIGHT, min(16, 900 // max(1, len(memory.kernels))))
    bottom = 3 * _MARGIN + height * len(memory.kernels)
    width = _NAMES + _WIDTH + _PADS + 3 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 2 * _MARGIN}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN}" font-size="14">{escape(title)}</text>',
        *_rows(memory, height),
        *_boxes(memory, height),
        *_pad_bars(memory, height),
    ]
    low, high = memory.arena
    labels = [f"{low:#x}", f"{(low + high) // 2:#x}", f"{high:#x}"]
    anchors = ("start", "middle", "end")
    for position, (label, anchor) in enumerate(zip(labels, anchors, strict=True)):
        x = _NAMES + _MARGIN + position * _WIDTH / 2
        parts.append(f'<text x="{x:.0f}" y="{bottom + 12}" text-anchor="{anchor}">{label}</text>')
    for position, line in enumerate(summary(memory).splitlines()):
        parts.append(f'<text x="{_MARGIN}" y="{bottom + 26 + 12 * position}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(launch: int, height: int) -> int:
    return 2 * _MARGIN + launch * height


def _rows(memory: MemoryMap, height: int) -> Iterator[str]:
    """The names of the launches, as many as there is room for."""
    every = -(-10 // height)
    for launch in range(0, len(memory.kernels), every):
        name = escape(memory.kernels[launch][:36])
        yield f'<text x="{_NAMES}" y="{_top(launch, height) + 9}" text-anchor="end">{launch} {name}</text>'


def _boxes(memory: MemoryMap, height: int) -> Iterator[str]:
    low, high = memory.arena
    scale = _WIDTH / max(1, high - low)
    for buffer in memory.buffers:
        if buffer.kind in (VALUE, OUTPUT):
            x = _NAMES + _MARGIN + (buffer.address - low) * scale
            yield _box(buffer, x, max(1.0, buffer.size_bytes * scale), height)


def _box(buffer: Buffer, x: float, width: float, height: int) -> str:
    y, tall = _top(buffer.first, height), (buffer.last - buffer.first + 1) * height
    what = escape(
        f"{buffer.name}: {buffer.size_bytes:,} bytes at {buffer.address:#x}, launches {buffer.first} to {buffer.last}"
    )
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{tall}" fill="{_COLOURS[buffer.kind]}" '
        f'stroke="white" stroke-width="0.5"><title>{what}</title></rect>'
    )


def _pad_bars(memory: MemoryMap, height: int) -> Iterator[str]:
    left = _NAMES + _WIDTH + 2 * _MARGIN
    yield f'<text x="{left}" y="{2 * _MARGIN - 4}">rows of each pad</text>'
    for launch, rows in enumerate(memory.pad_rows):
        for pad, used in enumerate(rows):
            share = _PADS / len(rows)
            width = used / memory.rows_per_pad * (share - 4)
            yield (
                f'<rect x="{left + pad * share:.1f}" y="{_top(launch, height)}" width="{width:.1f}" '
                f'height="{height - 1}" fill="#f28e2b"/>'
            )
