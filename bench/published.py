"""The published harness results of machine reference 6.5 against our cycle model, as a table.

The published numbers come from harnesses that drive the units directly; ours run packets through the whole core. The
programs do what those harnesses do: one 32x32x32 tile product at a time, operands fetched by DMA for every tile product
(or for a block of them), partial sums through a pad. `docs/timing.md` explains the differences; nothing is fitted.

    python -m bench.published [engine]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from atalla_mlir.mc.parse import assemble
from atalla_mlir.sim import create_engine
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.machine import Machine, machine

TILE = 32
TILE_BYTES = 2 * TILE * TILE
PAGE = TILE * 64
A_BASE, W_BASE, C_BASE = 0x100000, 0x800000, 0x1000000
# Scalar registers: row offsets 0..31, the metadata of a full tile per pad, pad and DRAM addresses.
ROWS, META, PADS, DRAM = 64, 16, 20, 24


@dataclass(frozen=True)
class Experiment:
    """`blocks` tile products share a fetch: `m` activation tiles times `n` weight tiles."""

    name: str
    size: int
    m: int
    n: int
    published: int


EXPERIMENTS = (
    Experiment("one tile product", 32, 1, 1, 1_092),
    Experiment("no reuse, 64", 64, 1, 1, 7_328),
    Experiment("no reuse, 128", 128, 1, 1, 50_032),
    Experiment("2 x 2 reuse, 64", 64, 2, 2, 4_983),
    Experiment("2 x 2 reuse, 128", 128, 2, 2, 37_887),
)


def main() -> None:
    engine = sys.argv[1] if len(sys.argv) > 1 else "auto"
    harness = machine("as-compat").with_options(pad_row_interval=1, pad_read_latency=3, icache_bytes=0)
    sets = (harness, harness.with_options(dram_burst_bytes=8), machine("ax01"))
    print(f"{'experiment':18} {'published':>9}  {'as-compat':>9}  {'8 B bursts':>10}  {'ax01':>9}")
    for experiment in EXPERIMENTS:
        cycles = [run(experiment, parameters, engine) for parameters in sets]
        print(f"{experiment.name:18} {experiment.published:9}  {cycles[0]:9}  {cycles[1]:10}  {cycles[2]:9}")


def run(experiment: Experiment, parameters: Machine, engine_name: str) -> int:
    """Cycles of the whole program."""
    engine = create_engine(engine_name, parameters)
    engine.load_code(0, assemble("\n".join(program(experiment))).code)
    result = engine.run(timing=True)
    if result.reason != "halt":
        raise RuntimeError(f"{experiment.name}: {result.trap}")
    return engine.counters.cycles


def program(experiment: Experiment) -> Iterable[str]:
    tiles = experiment.size // TILE
    yield from prologue()
    for row in range(0, tiles, experiment.m):
        for column in range(0, tiles, experiment.n):
            for k in range(tiles):
                yield from fetch(experiment, row, column, k, tiles)
                for m in range(experiment.m):
                    for n in range(experiment.n):
                        yield from tile_product(m, n, m * experiment.n + n, first=k == 0)
            yield from store(experiment, row, column, tiles)
    yield "halt.s"


def prologue() -> Iterable[str]:
    for row in range(TILE):
        yield f"addi.s x{ROWS + row}, x0, {row}"
    yield "addi.s x1, x0, -1"
    yield "mv.stm m1, x1"
    for pad in range(4):
        yield f"li.s x{META + pad}, {signed(DmaShape(pad, TILE, TILE, TILE).encode())}"


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def fetch(experiment: Experiment, row: int, column: int, k: int, tiles: int) -> Iterable[str]:
    """Activation tiles into pad 0, weight tiles into pad 1, both pads at once."""
    for index in range(max(experiment.m, experiment.n)):
        for pad, count, base, tile in (
            (0, experiment.m, A_BASE, (row + index) * tiles + k),
            (1, experiment.n, W_BASE, (column + index) * tiles + k),
        ):
            if index < count:
                yield f"li.s x{DRAM + pad}, {base + tile * TILE_BYTES}"
                yield f"li.s x{PADS + pad}, {index * PAGE}"
                yield f"scpad.ld x{PADS + pad}, x{DRAM + pad}, x{META + pad}"
    yield f"{{ addi.s x30, x{PADS}, 0 }}"
    yield f"{{ addi.s x31, x{PADS + 1}, 0 }}"


def store(experiment: Experiment, row: int, column: int, tiles: int) -> Iterable[str]:
    for m in range(experiment.m):
        for n in range(experiment.n):
            tile = (row + m) * tiles + column + n
            yield f"li.s x{DRAM + 2}, {C_BASE + tile * TILE_BYTES}"
            yield f"li.s x{PADS + 2}, {(m * experiment.n + n) * PAGE}"
            yield f"scpad.st x{PADS + 2}, x{DRAM + 2}, x{META + 2}"


def tile_product(m: int, n: int, c: int, *, first: bool) -> Iterable[str]:
    """Weights, then a pipeline of rows: loads, product, addition to the partial sum, store."""
    yield f"{{ li.s x28, {m * PAGE} }}" if m * PAGE < 2048 else f"lui.s x28, {m * PAGE >> 7}"
    yield f"lui.s x29, {n * PAGE >> 7}"
    yield f"lui.s x27, {c * PAGE >> 7}"
    at: dict[int, list[str]] = defaultdict(list)
    for row in range(TILE):
        at[row].append(f"vreg.ld v{1 + row}, x29, x{ROWS + TILE - 1 - row}, 31, 1")
        at[row + 10].append(f"lw.vi v0, v{1 + row}, 0, m1")
        load, product, ready = 42 + 2 * row, 52 + 2 * row, 102 + 2 * row
        at[load].append(f"vreg.ld v{40 + row}, x28, x{ROWS + row}, 31, 0")
        at[product].append(f"gemm.vv v{80 + row}, v{40 + row}, v0, m0")
        if not first:
            at[product].append(f"vreg.ld v{120 + row}, x27, x{ROWS + row}, 31, 2")
            at[ready].append(f"add.vv v{160 + row}, v{80 + row}, v{120 + row}, m1")
        result = 80 + row if first else 160 + row
        at[ready + 6].append(f"vreg.st v{result}, x27, x{ROWS + row}, 31, 2")
    for cycle in sorted(at):
        yield from packets(at[cycle])


def packets(instructions: list[str]) -> Iterable[str]:
    """One packet; two row accesses take all scalar ports, and pad 2 takes one access per packet."""
    rows = [text for text in instructions if text.startswith("vreg")]
    others = [text for text in instructions if not text.startswith("vreg")]
    pads = [text[-1] for text in rows]
    if len(rows) > 2 or len(set(pads)) < len(pads):
        yield "{ " + " ; ".join(rows[1:]) + " }"
        rows = rows[:1]
    yield "{ " + " ; ".join(rows + others) + " }"


if __name__ == "__main__":
    main()
