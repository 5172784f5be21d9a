"""The services that move regions, against NumPy, and what they refuse."""

from __future__ import annotations

import random

import numpy as np
import pytest

from atalla_mlir.firmware.link import CodeBlock, Relocation, dma_services, link
from atalla_mlir.firmware.symbols import DMA_ROUTINES
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.parse import assemble
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Engine
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.registers import RESULT, RegisterFile

MINUS_ONE = 0xFFFFFFFF
BASE = 0x10000
SMALL = Machine(name="small", pads=2, pad_rows=64)


def run(body: str, engine: Engine) -> int:
    """x10 after the text `body`, which calls the services; their code lies at PC 0."""
    services = dma_services(engine.machine)
    engine.load_code(0, services.code)
    engine.load_code(20000, assemble(body + "\nhalt.s", base=20000, symbols=services.labels).code)
    engine.reset()
    engine.set_pc(20000)
    result = engine.run(timing=True)
    assert result.reason == "halt", result
    return engine.read_scalar(RESULT)


def call(service: str, *arguments: int) -> str:
    lines: list[str] = []
    for number, value in enumerate(arguments, 12):
        lines += [f"lui.s x{number}, {value >> 7}", f"addi.s x{number}, x{number}, {value & 0x7F}"]
    return "\n".join([*lines, f"jal x1, {service}"])


def pad_of(matrix: np.ndarray) -> np.ndarray:
    """Rows of the pad that hold `matrix`: panels of 32 columns one behind the other."""
    rows, columns = matrix.shape
    panels = -(-columns // 32)
    padded = np.zeros((rows, panels * 32), np.uint16)
    padded[:, :columns] = matrix
    return np.concatenate(np.split(padded, panels, axis=1))


@pytest.mark.parametrize("seed", range(6))
def test_regions_go_to_the_pad_and_back(seed: int) -> None:
    random_number = random.Random(seed)
    machine = (AX01, SMALL)[seed % 2]
    limit = machine.pad_rows
    columns = random_number.choice((1, 5, 32, 33, 70))
    rows = random_number.randint(1, min(limit // -(-columns // 32), 75))
    pitch = random_number.choice((0, columns, columns + 3))
    pad, row = random_number.randrange(machine.pads), random_number.randint(0, limit - rows * -(-columns // 32))
    engine = create_engine("reference", machine)
    memory = np.random.default_rng(seed).integers(0, 1 << 16, rows * (pitch or columns), np.uint16)
    engine.write_dram(BASE, memory)
    text = call("dma_load", pad, 64 * row, BASE, rows, columns, pitch) + "\n" + call("dma_wait", pad)
    assert run(text, engine) == 0
    matrix = np.lib.stride_tricks.as_strided(memory, (rows, columns), (2 * (pitch or columns), 2))
    image = pad_of(matrix)
    assert np.array_equal(engine.read_pad(pad, row, len(image)), image)
    target = BASE + 0x8000
    text += "\n" + call("dma_store", pad, 64 * row, target, rows, columns, columns + 2) + "\n" + call("barrier")
    assert run(text, engine) == 0
    stored = np.frombuffer(engine.read_dram(target, 2 * rows * (columns + 2)), np.uint16).reshape(rows, columns + 2)
    assert np.array_equal(stored[:, :columns], matrix)
    assert not stored[:, columns:].any()


REFUSED = {
    "no such pad": (4, 0, BASE, 1, 1, 0),
    "inside a row": (0, 32, BASE, 1, 1, 0),
    "odd address": (0, 0, BASE + 1, 1, 1, 0),
    "no rows": (0, 0, BASE, 0, 1, 0),
    "no columns": (0, 0, BASE, 1, 0, 0),
    "rows overlap": (0, 0, BASE, 2, 8, 7),
    "pitch": (0, 0, BASE, 2, 8, (1 << 20) + 1),
    "more rows than the pad has": (0, 0, BASE, 8193, 1, 0),
    "more panels than the pad has": (0, 0, BASE, 4097, 33, 0),
    "beyond the pad's end": (0, 64 * 8191, BASE, 2, 1, 0),
    "behind the pad": (0, 64 * 8192, BASE, 1, 1, 0),
}


@pytest.mark.parametrize("service", ["dma_load", "dma_store"])
@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_what_is_no_region_is_refused(service: str, arguments: tuple[int, ...]) -> None:
    engine = create_engine("reference")
    assert run(call(service, *arguments), engine) == MINUS_ONE
    assert engine.counters.dram_bytes_loaded == engine.counters.dram_bytes_stored == 0


def test_waiting_for_a_pad_that_does_not_exist() -> None:
    assert run(call("dma_wait", 4), create_engine("reference")) == MINUS_ONE


def test_a_wait_takes_as_long_as_the_transfer() -> None:
    engine = create_engine("reference")
    run(call("dma_load", 1, 0, BASE, 32, 32, 0), engine)
    drained = engine.counters.stalls["drain"]
    run(call("dma_load", 1, 0, BASE, 32, 32, 0) + "\n" + call("barrier"), engine)
    assert drained > 100 > engine.counters.stalls["drain"]
    assert engine.counters.stalls["dma_wait"] > 100


def test_programs_that_call_the_services_carry_them() -> None:
    jump = (MachineInstruction(BY_MNEMONIC["jal"], (1, 0)),)
    plain = link([CodeBlock("main", (jump,), (Relocation(0, 0, "spad_alloc"),))])
    assert not set(DMA_ROUTINES) & set(plain.functions)
    image = link([CodeBlock("main", (jump,), (Relocation(0, 0, "barrier"),))])
    assert set(DMA_ROUTINES) <= set(image.functions)
    start, end = image.functions["barrier"]
    assert image.code[start:end] == dma_services().code[-(end - start) :]
    assert image.functions["main"][0] == end


def test_services_keep_the_registers_of_compiled_code() -> None:
    engine = create_engine("reference")
    services = dma_services()
    engine.load_code(0, services.code)
    marks = "\n".join(f"addi.s x{number}, x0, {number}" for number in range(18, 240))
    run(marks + "\n" + call("dma_load", 0, 0, BASE, 3, 40, 0) + "\n" + call("dma_wait", 0), engine)
    assert [engine.read_register(RegisterFile.SCALAR, number) for number in range(18, 240)] == [*range(18, 240)]
