"""Page policies that replace services of programs that are compiled already."""

from __future__ import annotations

from pathlib import Path

import pytest

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import CodeBlock, Relocation, link
from atalla_mlir.firmware.policy import POLICIES, policy_text, with_page_policy
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.reader import read_loadable
from atalla_mlir.loadable.writer import write_loadable
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.operands import AssemblyError
from atalla_mlir.runtime.program import Program
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01

PAGE_BYTES = 2048
ADDRESSES = 0x1000


def packet(name: str, *operands: int) -> tuple[MachineInstruction, ...]:
    return (MachineInstruction(BY_MNEMONIC[name], operands),)


def allocating(times: int) -> Loadable:
    """A program that allocates 2 pages of pad 1 `times` times, stores the addresses, and frees the last run."""
    packets = [packet("lui.s", 20, ADDRESSES >> 7), packet("addi.s", 21, 1, 0)]
    relocations: list[Relocation] = []

    def call(service: str) -> None:
        relocations.append(Relocation(len(packets), 0, service))
        packets.append(packet("jal", 1, 0))

    for at in range(times):
        packets.extend([packet("addi.s", 12, 0, 1), packet("addi.s", 13, 0, 2), packet("addi.s", 14, 0, 0)])
        call("spad_alloc")
        packets.append(packet("sw.s", 10, 4 * at, 20))
    packets.extend([packet("addi.s", 12, 0, 1), packet("addi.s", 13, 10, 0), packet("addi.s", 14, 0, 2)])
    call("spad_free")
    packets.append(packet("sw.s", 10, 4 * times, 20))
    packets.append(packet("jalr", 0, 21, 0))
    image = link([CodeBlock("main", tuple(packets), tuple(relocations))], AX01)
    output = TensorSpec("addresses", "i32", (times + 1,), (1,), ADDRESSES, "i32")
    return Loadable(
        machine_name=AX01.name,
        machine_digest=AX01.digest(),
        entries=(Entry("main", image.pc("main"), (), (output,)),),
        segments=(
            Segment(SegmentKind.CODE, 0, memoryview(image.code)),
            Segment(SegmentKind.DATA, 0, memoryview(image.system_data)),
        ),
        meta={"functions": {name: list(span) for name, span in image.functions.items()}},
        dram_size=0x2000,
    )


def pages(loadable: Loadable, runs: int = 1) -> list[list[int]]:
    """Pages of the allocations and the result of the free, per run."""
    program = Program(read_loadable(write_loadable(loadable)), engine="reference")
    found: list[list[int]] = []
    for _ in range(runs):
        values = [int(value) for value in program.run_entry("main", [])[0]]
        found.append([*(value // PAGE_BYTES for value in values[:-1]), values[-1]])
    return found


def test_without_a_policy_the_lowest_pages_come_first() -> None:
    assert pages(allocating(3), runs=2) == [[0, 2, 4, 0], [4, 6, 8, 0]]


def test_alternating_between_the_ends() -> None:
    loadable = with_page_policy(allocating(3), policy_text("alternate"))
    assert pages(loadable, runs=2) == [[0, 254, 2, 0], [252, 2, 250, 0]]


def test_guard_pages() -> None:
    assert pages(with_page_policy(allocating(3), policy_text("guarded")), runs=2) == [[0, 3, 6, 0], [6, 9, 12, 0]]


def test_kernels_stay_as_they_are() -> None:
    plain = allocating(2)
    changed = with_page_policy(plain, policy_text("guarded"))
    start, end = plain.meta["functions"]["main"]
    assert bytes(changed.code_segments[0].data[start:end]) == bytes(plain.code_segments[0].data[start:end])
    assert changed.entries == plain.entries
    assert changed.meta["functions"]["page_policy"][0] == plain.code_segments[0].end


def test_a_policy_of_ones_own() -> None:
    """Hands out page 7 whoever asks, and never takes anything back."""
    allocate = f"spad_alloc:\n lui.s x10, {7 * PAGE_BYTES >> 7}\n jalr x0, x1, 0\n"
    text = allocate + "spad_free:\n addi.s x10, x0, 5\n jalr x0, x1, 0"
    assert pages(with_page_policy(allocating(2), text)) == [[7, 7, 5]]


def test_what_is_no_policy() -> None:
    loadable = allocating(1)
    with pytest.raises(BadInputError, match=r"mine.s defines none of the services spad_alloc, .*, spad_avail"):
        with_page_policy(loadable, "other:\n halt.s", "mine.s")
    with pytest.raises(AssemblyError, match="nowhere"):
        with_page_policy(loadable, "spad_alloc:\n jal x0, nowhere", "mine.s")
    twice = with_page_policy(loadable, policy_text("alternate"))
    with pytest.raises(BadInputError, match="has a page policy of its own already"):
        with_page_policy(twice, policy_text("guarded"))
    with pytest.raises(BadInputError, match="no page policy 'best'; there are alternate, guarded"):
        policy_text("best")


@pytest.mark.parametrize("name", POLICIES)
def test_policies_say_what_they_do(name: str) -> None:
    assert policy_text(name).startswith("# Page policy: ")
    assert f"`{name}`" in (Path(__file__).parents[3] / "docs" / "firmware.md").read_text("utf-8")
