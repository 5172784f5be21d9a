"""The emulator's own final states, for every program of `test/conformance/legacy-fs`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from atalla_mlir.sim.legacy_fs import LegacyEngine
from atalla_mlir.sim.legacy_fs.dump import dump_masks, dump_memory, dump_scalars, dump_vectors
from atalla_mlir.target.encoding import INSTRUCTION_BITS, SLOTS, WORD_MASK, pack_packet

ROOT = Path(__file__).parents[2] / "conformance" / "legacy-fs"
PROGRAMS = sorted(path.parent.name for path in ROOT.glob("*/prog.in"))


def final_state(folder: Path) -> LegacyEngine:
    """Run `prog.in`; memory keeps the overlapping entries of the file as they are."""
    engine, in_data = LegacyEngine(), False
    for raw in (folder / "prog.in").read_text().splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith(".data"):
            in_data = True
        elif line:
            address, word = (int(re.sub(r"\s", "", part), 16) for part in line.split(":"))
            if in_data:
                engine.load_words({address: word})
            else:
                shifts = [INSTRUCTION_BITS * (SLOTS - 1 - slot) for slot in range(SLOTS)]
                engine.load_code(address, pack_packet([word >> shift & WORD_MASK for shift in shifts]))
    result = engine.run(max_packets=100_000)
    assert result.reason == "halt", result.trap
    return engine


def pad_of(path: Path) -> np.ndarray:
    """A scratchpad dump as [row, lane]; cells that were never written are empty strings."""
    rows = np.zeros((32, 32), np.float32)
    for lane, line in enumerate(path.read_text().splitlines()):
        cells = re.sub(r"np\.float32\(([^)]*)\)", r"\1", line.split(":", 1)[1].strip())[1:-1].split(", ")
        rows[:, lane] = [0.0 if cell == "''" else float(cell) for cell in cells]
    return rows


def test_all_programs_are_there():
    assert len(PROGRAMS) == 21


@pytest.mark.parametrize("name", PROGRAMS)
def test_final_state_equals_the_emulators(name):
    folder = ROOT / name
    state = final_state(folder).state
    assert dump_scalars(state) == (folder / "sregs.out").read_text()
    assert dump_masks(state) == (folder / "mregs.out").read_text()
    assert dump_vectors(state) == (folder / "vregs.out").read_text()
    assert dump_memory(state).split() == (folder / "mem.out").read_text().split("DATA MEM")[1].split()
    for pad in range(2):
        assert np.array_equal(state.pads[pad], pad_of(folder / f"sp{pad}.out"), equal_nan=True)
