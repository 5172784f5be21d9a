"""Code that runs once in fewer packets: what joins which packet, what keeps its place, and that values stay."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from atalla_mlir.codegen.joined_packets import join_blocks, join_packets
from atalla_mlir.codegen.layout import Packet, Slot
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.packets import packet_violations

ONE = 10
FIRST = 20


def slot(mnemonic: str, *operands: int | str) -> Slot:
    return Slot(BY_MNEMONIC[mnemonic], operands)


def constant(register: int, value: int = 7) -> Slot:
    return slot("addi.s", register, 0, value)


def times_one(register: int, value: int = 7) -> Slot:
    return slot("muli.s", register, ONE, value)


JUMP = slot("jal", 1, "service")
LANES = slot("add.vv", 5, 6, 7, 0)


@pytest.mark.parametrize(
    ("addition", "product"),
    [
        (constant(21), times_one(21)),
        (constant(21, 0), slot("muli.s", 21, 0, 1)),
        (slot("addi.s", 21, 30, 0), slot("muli.s", 21, 30, 1)),
        (slot("add.s", 21, 30, 0), slot("muli.s", 21, 30, 1)),
        (slot("slli.s", 21, 30, 10), slot("muli.s", 21, 30, 1024)),
    ],
)
def test_the_multiplier_does_what_it_can(addition: Slot, product: Slot):
    assert join_packets([(slot("sub.s", 20, 31, 33),), (addition,)], ONE) == [(slot("sub.s", 20, 31, 33), product)]


@pytest.mark.parametrize(
    "addition",
    [
        slot("lui.s", 21, 9),
        slot("addi.s", 21, 30, 1),
        slot("add.s", 21, 30, 33),
        slot("slli.s", 21, 30, 11),  # beyond an immediate
        constant(ONE, 1),  # the number one itself
    ],
)
def test_other_additions_stay_where_the_adder_is_taken(addition: Slot):
    packets: list[Packet] = [(slot("sub.s", 20, 31, 33),), (addition,)]
    assert join_packets(packets, ONE) == packets


def test_without_the_number_one_copies_join_and_constants_stay():
    first = slot("lui.s", 20, 9)
    assert join_packets([(first,), (constant(21),)]) == [(first,), (constant(21),)]
    assert join_packets([(first,), (slot("addi.s", 21, 30, 0),)]) == [(first, slot("muli.s", 21, 30, 1))]


def test_what_is_in_the_packet_makes_room():
    assert join_packets([(constant(20),), (slot("lui.s", 21, 9),)], ONE) == [(times_one(20), slot("lui.s", 21, 9))]


def test_a_run_of_constants_takes_half_of_the_packets():
    found = join_packets([(constant(FIRST + at, at + 1),) for at in range(6)], ONE)
    assert [len(packet) for packet in found] == [2, 2, 2]


def test_lanes_join_what_has_room():
    assert join_packets([(constant(20),), (constant(21),), (LANES,)]) == [(constant(20),), (constant(21), LANES)]


def test_what_comes_before_a_jump_joins_it():
    packets: list[Packet] = [(constant(12),), (constant(13),), (constant(14),), (JUMP,)]
    assert join_packets(packets, ONE) == [(times_one(12), constant(13)), (times_one(14), JUMP)]


@pytest.mark.parametrize(
    ("between", "moved"),
    [
        (slot("add.s", 40, 21, 31), constant(21)),  # reads the old value
        (slot("lui.s", 21, 3), constant(21)),  # writes it
        (slot("lui.s", 30, 3), slot("addi.s", 21, 30, 0)),  # writes what is copied
        (slot("scpad.ld", 30, 33, 31), slot("addi.s", 21, 30, 0)),  # a transfer whose end the copy waits for
    ],
)
def test_what_depends_on_a_packet_stays_behind_it(between: Slot, moved: Slot):
    full = (between, LANES, slot("mul.vv", 8, 10, 11, 1), slot("mul.s", 41, 32, 31))
    packets: list[Packet] = [(slot("lui.s", 50, 3),), full, (moved,)]
    assert join_packets(packets, ONE) == packets


def test_it_may_write_what_its_packet_reads():
    reader = slot("add.s", 40, 21, 31)
    assert join_packets([(reader,), (constant(21),)], ONE) == [(reader, times_one(21))]


def test_all_of_a_packet_moves_or_nothing():
    full = (slot("lui.s", 20, 1), LANES, slot("mul.vv", 8, 10, 11, 1), slot("mul.s", 41, 32, 31))
    both = (slot("addi.s", 21, 30, 0), slot("add.vv", 12, 5, 7, 1))
    packets: list[Packet] = [(slot("lui.s", 50, 3),), full, both]
    assert join_packets(packets, ONE) == packets


def test_a_bank_is_not_read_twice_for_it():
    """x30 and x34 are of one bank."""
    packets: list[Packet] = [(slot("addi.s", 20, 34, 4),), (slot("addi.s", 21, 30, 0),)]
    assert join_packets(packets) == packets


@pytest.mark.parametrize("mnemonic", ["vreg.ld", "vreg.st"])
def test_rows_keep_their_packets_and_scalars_come_to_them(mnemonic: str):
    rows = [slot(mnemonic, 5 + pad, 30 + pad, 32, 31, pad) for pad in range(2)]
    assert join_packets([(rows[0],), (rows[1],)], ONE) == [(rows[0],), (rows[1],)]
    assert join_packets([(slot("lui.s", 20, 3),), (rows[0],)], ONE) == [(slot("lui.s", 20, 3), rows[0])]


def test_waits_that_follow_each_other_are_one():
    first, second = slot("addi.s", 0, 30, 0), slot("addi.s", 0, 33, 0)
    assert join_packets([(first,), (second,)]) == [(slot("muli.s", 0, 30, 1), second)]


def test_a_wait_does_not_hold_up_rows_or_lanes():
    wait = slot("addi.s", 0, 30, 0)
    packets: list[Packet] = [(LANES,), (wait,), (slot("vreg.ld", 5, 33, 31, 31, 0),)]
    assert join_packets(packets, ONE) == packets


def test_a_function_makes_the_number_one_where_two_constants_want_it():
    run: list[Packet] = [(constant(FIRST + at),) for at in range(4)]
    entry, loop, end = join_blocks([run, run, run], [0, 1, 0], ONE)
    assert entry[0] == (slot("addi.s", ONE, 0, 1),)
    assert [len(packet) for packet in entry[1:]] == [2, 2]
    assert loop == run
    assert [len(packet) for packet in end] == [2, 2]


@pytest.mark.parametrize("blocks", [[[(constant(20),), (constant(21),)]], [[]], []])
def test_it_makes_none_for_a_constant_or_none(blocks: list[list[Packet]]):
    assert join_blocks(blocks, [0] * len(blocks), ONE) == blocks


def test_a_function_without_a_spare_scalar_stays():
    run: list[Packet] = [(constant(FIRST + at),) for at in range(4)]
    assert join_blocks([run], [0], None) == [run]


def _random_packets(random_numbers: random.Random) -> list[Packet]:
    """Legal packets of one or two instructions on few registers."""
    found: list[Packet] = []
    while len(found) < 30:
        slots = tuple(_random_slot(random_numbers) for _ in range(random_numbers.choice((1, 1, 1, 2))))
        if not packet_violations([(one.op, one.operands) for one in slots]):  # pyright: ignore[reportArgumentType]
            found.append(slots)
    return found


def _random_slot(random_numbers: random.Random) -> Slot:
    a, b, c = (random_numbers.randrange(FIRST, FIRST + 8) for _ in range(3))
    number = random_numbers.randrange(-50, 50)
    return random_numbers.choice(
        (
            slot("addi.s", a, 0, number),
            slot("addi.s", a, b, 0),
            slot("addi.s", a, b, number),
            slot("add.s", a, b, 0),
            slot("add.s", a, b, c),
            slot("slli.s", a, b, abs(number) % 12),
            slot("lui.s", a, abs(number)),
            slot("mul.s", a, b, c),
        )
    )


def _values(packets: Sequence[Packet]) -> list[int]:
    """The scalars after packets, each of which reads before it writes."""
    values = [0] * 256
    values[ONE] = 1
    for at in range(FIRST, FIRST + 8):
        values[at] = at * at
    for packet in packets:
        written = [(one.operands[0], _result(one, values)) for one in packet]
        for register, value in written:
            assert isinstance(register, int)
            values[register] = value % 2**32
    return values


def _result(one: Slot, values: Sequence[int]) -> int:
    _, *operands = one.operands
    first, second = (*operands, 0)[:2]
    assert isinstance(first, int) and isinstance(second, int)
    match one.op.mnemonic:
        case "addi.s":
            return values[first] + second
        case "muli.s":
            return values[first] * second
        case "slli.s":
            return values[first] << second
        case "lui.s":
            return first << 7
        case "add.s":
            return values[first] + values[second]
        case _:
            return values[first] * values[second]


@pytest.mark.parametrize("seed", range(40))
def test_values_stay_and_packets_are_legal(seed: int):
    packets = _random_packets(random.Random(seed))
    found = join_packets(packets, ONE)
    assert len(found) < len(packets)
    assert _values(found) == _values(packets)
    for packet in found:
        assert not packet_violations([(one.op, one.operands) for one in packet])  # pyright: ignore[reportArgumentType]
