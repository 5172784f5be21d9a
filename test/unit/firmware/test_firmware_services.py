"""The page allocator on the reference engine, against a model that keeps a set of pages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.firmware.link import firmware, system_data
from atalla_mlir.loadable import abi
from atalla_mlir.sim import create_engine
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.registers import ARGUMENT_BASE, FIRMWARE_CLOBBERS, FIRMWARE_TABLE, LINK, RESULT, RegisterFile

MINUS_ONE = 0xFFFFFFFF
# A PC behind the firmware: services return to it, and the run stops there.
RETURN_PC = 1000 * PACKET_BYTES


class Services:
    """Calls services one by one on an engine with the firmware alone; pages survive between calls."""

    def __init__(self, machine: Machine = AX01) -> None:
        self.firmware = firmware(machine)
        self.engine = create_engine("reference", machine)
        self.engine.load_code(0, self.firmware.code)
        self.engine.write_dram(0, system_data())
        self._start()

    def _start(self) -> None:
        """Run the reset code up to the jump to the entry."""
        self.engine.write_dram(abi.ENTRY_ADDRESS, RETURN_PC.to_bytes(4, "little"))
        self.engine.load_code(RETURN_PC, bytes.fromhex("3200000000") + bytes(15))
        result = self.engine.run(max_packets=200, breakpoints=frozenset({RETURN_PC}))
        assert result.reason == "breakpoint", result

    def call(self, name: str, *arguments: int) -> int:
        table_index = abi.SERVICES.index(name)
        for position, value in enumerate(arguments):
            self.engine.write_register(RegisterFile.SCALAR, ARGUMENT_BASE + position, value & MINUS_ONE)
        self.engine.write_register(RegisterFile.SCALAR, LINK, RETURN_PC)
        self.engine.set_pc(self.table + table_index * PACKET_BYTES)
        result = self.engine.run(max_packets=20000, breakpoints=frozenset({RETURN_PC}))
        assert result.reason in ("breakpoint", "halt"), result
        return self.scalar(RESULT)

    @property
    def table(self) -> int:
        return self.scalar(FIRMWARE_TABLE)

    def scalar(self, number: int) -> int:
        value = self.engine.read_register(RegisterFile.SCALAR, number)
        assert isinstance(value, int)
        return value

    def word(self, address: int) -> int:
        return int.from_bytes(self.engine.read_dram(address, 4), "little")


@dataclass
class Pad:
    """What the services promise about one pad."""

    pages: int = 256
    used: set[int] = field(default_factory=set)

    def _runs(self) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for page in range(self.pages):
            if page in self.used:
                continue
            if runs and runs[-1][1] == page:
                runs[-1] = (runs[-1][0], page + 1)
            else:
                runs.append((page, page + 1))
        return runs

    def alloc(self, count: int, flags: int) -> int:
        if not 1 <= count <= 256:
            return MINUS_ONE
        fitting = [(start, end) for start, end in self._runs() if end - start >= count]
        if not fitting:
            return MINUS_ONE
        start = fitting[-1][1] - count if flags & abi.ALLOCATE_HIGH else fitting[0][0]
        self.used |= set(range(start, start + count))
        return start * abi.PAGE_BYTES

    def free(self, address: int, count: int) -> int:
        pages = set(range(address // abi.PAGE_BYTES, address // abi.PAGE_BYTES + count))
        if address % abi.PAGE_BYTES or not 1 <= count <= 256 or not pages <= self.used:
            return MINUS_ONE
        self.used -= pages
        return 0

    def avail(self) -> int:
        return max((end - start for start, end in self._runs()), default=0)


@pytest.fixture
def services() -> Services:
    return Services()


def test_reset_prepares_registers(services: Services) -> None:
    assert services.table == PACKET_BYTES
    assert services.engine.read_register(RegisterFile.MASK, 1) == MINUS_ONE
    assert services.word(abi.READY_ADDRESS) == abi.READY_MAGIC


def test_abi_version(services: Services) -> None:
    assert services.call("fw_abi") == abi.ABI_VERSION == 0x41580001


def test_first_fit_from_both_ends(services: Services) -> None:
    assert services.call("spad_alloc", 0, 3, 0) == 0
    assert services.call("spad_alloc", 0, 2, 0) == 3 * 2048
    assert services.call("spad_alloc", 0, 4, abi.ALLOCATE_HIGH) == 252 * 2048
    assert services.call("spad_alloc", 1, 1, 0) == 0
    assert services.call("spad_avail", 0) == 247


def test_whole_pad_and_exhaustion(services: Services) -> None:
    assert services.call("spad_alloc", 3, 256, 0) == 0
    assert services.call("spad_alloc", 3, 1, 0) == MINUS_ONE
    assert services.call("spad_avail", 3) == 0
    assert services.call("spad_free", 3, 0, 256) == 0
    assert services.call("spad_avail", 3) == 256


@pytest.mark.parametrize("pages", [0, 257, 512, 1 << 20, (1 << 20) + 1, 1 << 21, (1 << 21) + 1, -1])
@pytest.mark.parametrize("flags", [0, 1])
def test_impossible_counts_change_nothing(services: Services, pages: int, flags: int) -> None:
    assert services.call("spad_alloc", 2, pages, flags) == MINUS_ONE
    assert services.call("spad_free", 2, 0, pages) == MINUS_ONE
    assert services.call("spad_avail", 2) == 256


@pytest.mark.parametrize("pad", [4, 5, 255, 1 << 26, -1])
def test_impossible_pads_change_nothing(services: Services, pad: int) -> None:
    before = services.engine.read_dram(abi.STATE_ADDRESS, abi.TENSORS_ADDRESS - abi.STATE_ADDRESS)
    assert services.call("spad_alloc", pad, 1, 0) == MINUS_ONE
    assert services.call("spad_alloc", pad, 1, 1) == MINUS_ONE
    assert services.call("spad_free", pad, 0, 1) == MINUS_ONE
    assert services.call("spad_mark", pad) == MINUS_ONE
    assert services.call("spad_release", pad, 0) == MINUS_ONE
    assert services.call("spad_avail", pad) == 0
    assert services.engine.read_dram(abi.STATE_ADDRESS, len(before)) == before


def test_free_refuses_what_is_not_in_use(services: Services) -> None:
    base = services.call("spad_alloc", 0, 4, 0)
    assert services.call("spad_free", 0, base + 64, 1) == MINUS_ONE
    assert services.call("spad_free", 0, base, 5) == MINUS_ONE
    assert services.call("spad_free", 0, -2048, 1) == MINUS_ONE
    assert services.call("spad_free", 0, base + 2048, 2) == 0
    assert services.call("spad_free", 0, base + 2048, 2) == MINUS_ONE
    assert services.call("spad_avail", 0) == 252
    assert services.call("spad_alloc", 0, 2, 0) == base + 2048


def test_a_run_below_the_pad_is_refused_when_it_ends_where_the_pages_in_use_end(services: Services) -> None:
    assert services.call("spad_free", 0, -2048, 1) == MINUS_ONE
    assert services.call("spad_avail", 0) == 256
    assert services.call("spad_alloc", 0, 1, 0) == 0


@pytest.mark.parametrize("cookie", [257 * 2048, 64, 2048 + 128, 1 << 31])
def test_cookies_that_no_mark_gives_are_refused(services: Services, cookie: int) -> None:
    services.call("spad_alloc", 0, 7, 0)
    assert services.call("spad_release", 0, cookie) == MINUS_ONE
    assert services.call("spad_avail", 0) == 249


def test_a_release_does_not_take_back_what_was_freed_since_the_mark(services: Services) -> None:
    first = services.call("spad_alloc", 0, 4, 0)
    second = services.call("spad_alloc", 0, 6, 0)
    cookie = services.call("spad_mark", 0)
    assert services.call("spad_free", 0, second, 6) == 0
    assert services.call("spad_release", 0, cookie) == 0
    assert services.call("spad_avail", 0) == 252
    assert services.call("spad_free", 0, second, 6) == MINUS_ONE
    assert services.call("spad_free", 0, first, 4) == 0


def test_releasing_an_older_mark_gives_back_the_snapshots_behind_it(services: Services) -> None:
    cookie = services.call("spad_mark", 0)
    services.call("spad_alloc", 0, 1, abi.ALLOCATE_HIGH)
    for _ in range(abi.SNAPSHOTS_PER_PAD):
        services.call("spad_mark", 0)
    services.call("spad_free", 0, 255 * 2048, 1)
    assert services.call("spad_release", 0, cookie) == 0
    services.call("spad_alloc", 0, 1, abi.ALLOCATE_HIGH)
    cookies = {services.call("spad_mark", 0) for _ in range(abi.SNAPSHOTS_PER_PAD)}
    assert len({*cookies, MINUS_ONE}) == abi.SNAPSHOTS_PER_PAD + 1


def test_random_sequences_agree_with_the_model(services: Services) -> None:
    random_numbers = random.Random(7)
    pads = [Pad() for _ in range(4)]
    live: list[list[tuple[int, int]]] = [[] for _ in pads]
    for _ in range(600):
        number = random_numbers.randrange(4)
        pad, runs = pads[number], live[number]
        if random_numbers.random() < 0.55 or not runs:
            count = random_numbers.choice((1, 2, 3, 7, 31, 32, 33, 64, 100))
            flags = random_numbers.choice((0, 0, 1))
            expected = pad.alloc(count, flags)
            assert services.call("spad_alloc", number, count, flags) == expected
            if expected != MINUS_ONE:
                runs.append((expected, count))
        elif random_numbers.random() < 0.15:
            address, count = random_numbers.randrange(256) * 2048, random_numbers.randrange(1, 20)
            assert services.call("spad_free", number, address, count) == pad.free(address, count)
        else:
            address, count = runs.pop(random_numbers.choice((-1, random_numbers.randrange(len(runs)))))
            assert services.call("spad_free", number, address, count) == pad.free(address, count)
        assert services.call("spad_avail", number) == pad.avail()


def test_marks_and_releases_agree_with_the_model(services: Services) -> None:
    random_numbers = random.Random(11)
    pad = Pad()
    marks: list[tuple[int, set[int]]] = []
    for _ in range(300):
        action = random_numbers.random()
        if action < 0.5:
            count, flags = random_numbers.choice((1, 5, 32, 50)), random_numbers.choice((0, 0, 0, 1))
            assert services.call("spad_alloc", 1, count, flags) == pad.alloc(count, flags)
        elif action < 0.7 and len(marks) < abi.SNAPSHOTS_PER_PAD:
            cookie = services.call("spad_mark", 1)
            assert cookie != MINUS_ONE
            marks.append((cookie, set(pad.used)))
        elif action < 0.85 and pad.used:
            page = random_numbers.choice(sorted(pad.used))
            assert services.call("spad_free", 1, page * 2048, 1) == pad.free(page * 2048, 1)
        elif marks:
            at = random_numbers.randrange(len(marks))
            cookie, used = marks[at]
            del marks[at:]
            assert services.call("spad_release", 1, cookie) == 0
            pad.used &= used
        assert services.call("spad_avail", 1) == pad.avail()


def test_snapshots_run_out_and_come_back(services: Services) -> None:
    services.call("spad_alloc", 0, 1, abi.ALLOCATE_HIGH)
    cookies = [services.call("spad_mark", 0) for _ in range(abi.SNAPSHOTS_PER_PAD)]
    assert len({*cookies, MINUS_ONE}) == abi.SNAPSHOTS_PER_PAD + 1
    assert services.call("spad_mark", 0) == MINUS_ONE
    assert services.call("spad_release", 0, MINUS_ONE) == MINUS_ONE
    assert services.call("spad_release", 0, cookies[3]) == 0
    assert services.call("spad_release", 0, cookies[3]) == MINUS_ONE
    assert services.call("spad_mark", 0) == cookies[3]


def test_mark_without_a_snapshot_falls_back_over_a_high_allocation(services: Services) -> None:
    base = services.call("spad_alloc", 2, 4, 0)
    cookie = services.call("spad_mark", 2)
    services.call("spad_alloc", 2, 6, 0)
    services.call("spad_alloc", 2, 9, abi.ALLOCATE_HIGH)
    assert services.call("spad_release", 2, cookie) == 0
    assert services.call("spad_avail", 2) == 252
    assert services.call("spad_free", 2, base, 4) == 0


def test_services_keep_all_other_registers(services: Services) -> None:
    kept = [number for number in range(2, 256) if number not in FIRMWARE_CLOBBERS and number != FIRMWARE_TABLE]
    for number in kept:
        services.engine.write_register(RegisterFile.SCALAR, number, 0x1000 + number)
    services.call("spad_alloc", 0, 5, 1)
    services.call("spad_alloc", 0, 5, 0)
    services.call("spad_release", 0, services.call("spad_mark", 0))
    services.call("spad_free", 0, 0, 2)
    assert [services.scalar(number) for number in kept] == [0x1000 + number for number in kept]


def test_panic_leaves_code_and_caller_and_frees_all_pages_at_the_next_start(services: Services) -> None:
    services.call("spad_alloc", 0, 200, 0)
    services.call("panic", abi.panic_code(abi.PanicCode.ARGUMENT, 3))
    assert services.word(abi.PANIC_ADDRESS) == 1
    assert services.word(abi.PANIC_CODE_ADDRESS) == 0x302
    assert services.word(abi.PANIC_LINK_ADDRESS) == RETURN_PC
    services.engine.reset()
    services._start()
    assert services.word(abi.PANIC_ADDRESS) == 0
    assert services.call("spad_avail", 0) == 256


@pytest.mark.parametrize("pages", [200, 0, 300])
def test_allocation_panics_on_request(services: Services, pages: int) -> None:
    services.call("spad_alloc", 2, 100, 0)
    services.call("spad_alloc", 2, pages, abi.PANIC_WHEN_EXHAUSTED)
    assert services.word(abi.PANIC_ADDRESS) == 1
    assert services.word(abi.PANIC_CODE_ADDRESS) == abi.panic_code(abi.PanicCode.PAGES_EXHAUSTED, 2)
    assert services.word(abi.PANIC_LINK_ADDRESS) == RETURN_PC


def test_fast_paths_take_few_packets(services: Services) -> None:
    def packets(name: str, *arguments: int) -> int:
        before = services.engine.counters.packets
        services.call(name, *arguments)
        return services.engine.counters.packets - before

    assert packets("spad_alloc", 0, 8, abi.PANIC_WHEN_EXHAUSTED) == 12
    assert packets("spad_free", 0, 0, 8) == 12
    assert packets("spad_mark", 0) == 10


def test_pads_of_other_sizes() -> None:
    services = Services(AX01.with_options(pads=2, pad_rows=5 * 32))
    assert services.call("spad_alloc", 1, 6, 0) == MINUS_ONE
    assert services.call("spad_alloc", 1, 2, 1) == 3 * 2048
    assert services.call("spad_avail", 1) == 3
    assert services.call("spad_alloc", 2, 1, 0) == MINUS_ONE
    assert services.call("spad_free", 2, 0, 1) == MINUS_ONE


def test_pads_that_the_firmware_cannot_manage() -> None:
    with pytest.raises(UnsupportedError) as error:
        firmware(AX01.with_options(name="huge", pad_rows=16384))
    assert str(error.value) == (
        "the firmware manages up to 4 pads of 256 pages of 2048 bytes; machine huge has 4 of 512 pages of 2048 bytes"
    )
