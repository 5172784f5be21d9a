"""`atalla-emit-packets`: from SSA code to packets, checked by running the packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from atalla_mlir._mlir import context, ir, operations, string_value
from atalla_mlir.codegen.allocate import allocate
from atalla_mlir.codegen.layout import Item, Label, Slot
from atalla_mlir.codegen.machine_ir import Function
from atalla_mlir.codegen.schedule import ScheduledFunction, schedule
from atalla_mlir.codegen.spill import SpillStatistics
from atalla_mlir.dialects.ax01 import instruction_of, pinned_operands
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.firmware.link import ObjectCode
from atalla_mlir.passes import emit_packets
from atalla_mlir.passes.base import PassFailure
from atalla_mlir.passes.emit_packets import EmitPacketsPass
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ALL_ONES_MASK, LINK, RegisterFile
from atalla_mlir.testing.machine_code import run_packets
from atalla_mlir.translate.attributes import to_json
from atalla_mlir.translate.functions import object_code

X, V, M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK


@pytest.fixture
def module() -> Iterator[ir.Module]:
    with context(), ir.Location.unknown():
        new = ir.Module.create()
        with ir.InsertionPoint(new.body):
            yield new


def emitted(module: ir.Module, function: ir.Operation, *, pipeline: bool = False) -> list[Item]:
    """Runs the pass and reads labels and packets back."""
    EmitPacketsPass(pipeline=pipeline).run(function)
    module.operation.verify()
    items: list[Item] = []
    for op in function.regions[0].blocks[0].operations:
        if op.operation.name == "ax01.label":
            items.append(Label(string_value(op.operation.attributes["label"])))
        elif op.operation.name == "ax01.packet":
            items.append(tuple(_slot(inner.operation) for inner in op.operation.regions[0].blocks[0].operations))
    return items


def _slot(op: ir.Operation) -> Slot:
    instruction = instruction_of(op)
    assert instruction is not None
    return Slot(instruction, pinned_operands(op))


def slots(items: list[Item], mnemonic: str) -> list[Slot]:
    return [slot for item in items if not isinstance(item, Label) for slot in item if slot.op.mnemonic == mnemonic]


def test_a_loop_runs_its_trip_count_and_carries_values_in_one_register(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0, m0 = b.get_register(X, 0), b.get_register(M, 0)
        trips = b.addi_s(x0, 5)
        rows = b.copy(x0, b.types[X])
        total = b.vreg_ld(x0, x0, 31, 0)
        with b.loop(trips, [total, rows]) as loop:
            carried, row = loop.carried
            added = b.add_vv(carried, b.vreg_ld(x0, row, 31, 1), m0)
            loop.next = [added, b.addi_s(row, 1)]
        b.vreg_st(loop.results[0], x0, loop.results[1], 31, 2)
        b.halt_s()
    items = emitted(module, function)
    state = run_packets(items)
    (stored,) = [row for row in state.rows if row[0] == 2]
    assert stored == (2, 5)
    (addition,) = slots(items, "add.vv")
    assert addition.operands[0] == addition.operands[1]
    assert slots(items, "sub.vs") == []


@pytest.mark.parametrize("pipeline", [False, True])
def test_encoded_packets_are_those_of_the_operations(module: ir.Module, pipeline: bool):
    """The same code, jumps, labels and sources, and a module that is verified and read back from its text."""
    codes: list[ObjectCode] = []
    for encode in (False, True):
        b = Builder()
        with b.function("f") as function:
            b.loc = ir.Location.file("model.py", 7, 1)
            x0, m0 = b.get_register(X, 0), b.get_register(M, 0)
            total = b.vreg_ld(x0, x0, 31, 0)
            b.loc = ir.Location.name("mul", ir.Location.file("model.py", 8, 1))
            with b.loop(b.addi_s(x0, 20), [total]) as loop:
                loop.next = [b.mul_vv(loop.carried[0], total, m0)]
            b.call("spad_alloc")
            b.vreg_st(loop.results[0], x0, x0, 31, 2)
            b.halt_s()
        EmitPacketsPass(pipeline=pipeline, encode=encode).run(function)
        module.operation.verify()
        again = ir.Module.parse(module.operation.get_asm(enable_debug_info=True))
        (read,) = object_code(again.operation)
        assert read == object_code(module.operation)[0]
        codes.append(read)
        function.erase()
    assert codes[0] == codes[1]
    assert len(codes[0].relocations) == 2
    assert "model.py:8 (mul)" in codes[0].sources


def test_a_pipelined_loop_stores_the_same_and_is_reported(module: ir.Module):
    b = Builder()
    functions: list[ir.Operation] = []
    for name in ("f", "g"):
        with b.function(name) as function:
            functions.append(function)
            x0, m0 = b.get_register(X, 0), b.get_register(M, 0)
            trips = b.addi_s(x0, 100)
            with b.loop(trips, [b.copy(x0, b.types[X])]) as loop:
                (row,) = loop.carried
                read, write = (ir.StringAttr.get(text) for text in ("read pad0:x[0:1]", "write pad1:y[0:1]"))
                loaded = b.vreg_ld(x0, row, 31, 0, memory=read)
                b.vreg_st(b.expi_vi(b.add_vv(loaded, loaded, m0), 0, m0), x0, row, 31, 1, memory=write)
                loop.next = [b.addi_s(row, 1)]
            b.halt_s()
    sequential = run_packets(emitted(module, functions[0])).observable()
    assert run_packets(emitted(module, functions[1], pipeline=True)).observable() == sequential
    (before,), loops = (to_json(function.attributes["atalla.loops"], "loops") for function in functions)
    after = next(loop for loop in loops if loop["stages"] > 1)
    assert all(loop["interval"] == before["interval"] for loop in loops if loop is not after)  # iterations left over
    assert (before["stages"], before["unroll"], before["trip_count"]) == (1, 1, 100)
    assert before["interval"] >= before["recurrence_bound"] > before["resource_bound"] == 3
    assert after["interval"] == after["resource_bound"] == 3
    assert after["bound_by"] == "pad 0 reads"
    # what fills and drains the pipeline, or runs before it, is not part of the loop
    assert 100 - after["stages"] - after["unroll"] < after["trip_count"] <= 100 + after["stages"]
    assert after["schedule_bound_cycles"] == 3 * after["trip_count"]


@pytest.mark.parametrize(
    ("spills", "spare"),
    [
        ([SpillStatistics()], [{}]),
        ([SpillStatistics(masks_to_scalars=1), SpillStatistics()], [{}, {M: 2}]),
        ([SpillStatistics(vectors_to_pad=3), SpillStatistics()], [{}, {V: 16}]),
        ([SpillStatistics(vectors_to_pad=3), SpillStatistics(1), SpillStatistics()], [{}, {V: 16}, {V: 48}]),
        ([SpillStatistics(3, 1), SpillStatistics(0, 1), SpillStatistics()], [{}, {V: 16, M: 2}, {M: 4}]),
    ],
)
def test_loops_leave_registers_of_what_would_spill(
    monkeypatch: pytest.MonkeyPatch,
    module: ir.Module,
    spills: list[SpillStatistics],
    spare: list[dict[RegisterFile, int]],
):
    """What the first rounds spill is made up; each is a way that counts until one spills nothing."""
    asked: list[dict[RegisterFile, int]] = []

    def scheduled(function: Function, target: Machine, *, pipeline: bool, spare: dict[RegisterFile, int]):
        assert pipeline
        asked.append(spare)
        return schedule(function, target, pipeline=pipeline, spare=spare)

    def allocated(function: ScheduledFunction, target: Machine):
        found = allocate(function, target)
        return replace(found, statistics=replace(found.statistics, spills=spills[len(asked) - 1]))

    monkeypatch.setattr(emit_packets, "schedule", scheduled)
    monkeypatch.setattr(emit_packets, "allocate", allocated)
    b = Builder()
    with b.function("f") as function:
        x0, m0 = b.get_register(X, 0), b.get_register(M, 0)
        with b.loop(b.addi_s(x0, 100), [b.copy(x0, b.types[X])]) as loop:
            b.vreg_st(b.add_vv(row := b.vreg_ld(x0, loop.carried[0], 31, 0), row, m0), x0, loop.carried[0], 31, 1)
            loop.next = [b.addi_s(loop.carried[0], 1)]
        b.halt_s()
    emitted(module, function, pipeline=True)
    assert asked == spare
    assert to_json(function.attributes["atalla.code"], "code")["spilled_vectors"] == 0


def test_values_that_trade_places_in_a_loop_are_both_kept(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0 = b.get_register(X, 0)
        first, second = b.vreg_ld(x0, x0, 31, 0), b.vreg_ld(x0, x0, 31, 1)
        with b.loop(b.addi_s(x0, 3), [first, second]) as loop:
            loop.next = [loop.carried[1], loop.carried[0]]
        b.vreg_st(loop.results[0], x0, x0, 31, 2)
        b.vreg_st(loop.results[1], x0, x0, 31, 3)
        b.halt_s()
    rows = run_packets(emitted(module, function)).rows  # after an odd number of swaps
    straight = run_packets(emitted_without_swap(module)).rows
    assert rows[2, 0] == straight[3, 0]
    assert rows[3, 0] == straight[2, 0]


def emitted_without_swap(module: ir.Module) -> list[Item]:
    b = Builder()
    with b.function("g") as function:
        x0 = b.get_register(X, 0)
        first, second = b.vreg_ld(x0, x0, 31, 0), b.vreg_ld(x0, x0, 31, 1)
        b.vreg_st(first, x0, x0, 31, 2)
        b.vreg_st(second, x0, x0, 31, 3)
        b.halt_s()
    return emitted(module, function)


def test_inactive_lanes_keep_old_which_stays_usable(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0, v0, m0 = b.get_register(X, 0), b.get_register(V, 0), b.get_register(M, 0)
        row = b.vreg_ld(x0, x0, 31, 0)
        negative = b.mlt_mvs(row, x0, m0)
        relu = b.mul_vs(v0, x0, negative, old=row)
        b.vreg_st(b.add_vv(relu, row, m0), x0, x0, 31, 1)
        b.halt_s()
    items = emitted(module, function)
    (masked,) = slots(items, "mul.vs")
    (addition,) = slots(items, "add.vv")
    (load,) = slots(items, "vreg.ld")
    assert masked.operands[0] == addition.operands[1]
    assert load.operands[0] == addition.operands[2] != masked.operands[0]


def test_the_return_address_survives_a_firmware_call(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        link = b.get_register(X, LINK)
        b.call("spad_free")
        b.jalr(link, 0, into=b.pinned(X, 0))
    items = emitted(module, function)
    (back,) = slots(items, "jalr")
    assert back.operands[1] != LINK
    (call,) = slots(items, "jal")
    assert call.operands == (LINK, "spad_free")


def test_the_return_address_is_used_in_place_without_calls(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        link = b.get_register(X, LINK)
        b.jalr(link, 0, into=b.pinned(X, 0))
    items = emitted(module, function)
    assert [len(item) for item in items if not isinstance(item, Label)] == [1]
    (back,) = slots(items, "jalr")
    assert back.operands == (0, LINK, 0)


def test_arguments_and_results_pass_in_fixed_registers(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0 = b.get_register(X, 0)
        b.copy(b.addi_s(x0, 3), b.pinned(X, 12))
        b.call("spad_alloc")
        base = b.get_register(X, 10)
        b.vreg_st(b.get_register(V, 0), base, x0, 31, 3)
        b.halt_s()
    items = emitted(module, function)
    assert 12 in [slot.operands[0] for slot in slots(items, "addi.s")]
    (store,) = slots(items, "vreg.st")
    copies = [slot for slot in slots(items, "addi.s") if slot.operands[1] == 10]
    assert store.operands[1] == 10 or store.operands[1] in [copy.operands[0] for copy in copies]


def test_large_constants_are_split(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0, v0 = b.get_register(X, 0), b.get_register(V, 0)
        b.vreg_st(v0, b.li_s(64 * 100 + 5), x0, 31, 0)
        b.vreg_st(v0, b.li_s(64), x0, 31, 0)
        b.halt_s()
    assert sorted(row for row in run_packets(emitted(module, function)).rows) == [(0, 1), (0, 100)]


def test_all_ones_mask_is_never_given_out(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0, v0, m0 = b.get_register(X, 0), b.get_register(V, 0), b.get_register(M, 0)
        masks = [b.mgt_mvs(v0, x0, m0) for _ in range(13)]
        row = b.vreg_ld(x0, x0, 31, 0)
        for mask in masks:
            row = b.mul_vs(row, x0, mask, old=row)
        b.vreg_st(row, x0, x0, 31, 0)
        b.halt_s()
    written = [slot.operands[0] for slot in slots(emitted(module, function), "mgt.mvs")]
    assert ALL_ONES_MASK not in written
    assert 0 not in written


def test_locations_follow_the_instructions(module: ir.Module):
    b = Builder(ir.Location.name("load"))
    with b.function("f") as function:
        x0 = b.get_register(X, 0)
        row = b.vreg_ld(x0, x0, 31, 0)
        b.loc = ir.Location.name("store")
        b.vreg_st(row, x0, x0, 31, 0)
        b.halt_s()
    EmitPacketsPass().run(function)
    (store,) = operations(function, "ax01.vreg_st")
    assert str(store.location) == 'loc("store")'


def test_the_function_reports_its_code(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        b.halt_s()
    EmitPacketsPass().run(function)
    code = ir.DictAttr(function.attributes["atalla.code"])
    assert ir.IntegerAttr(code["packets"]).value == 1
    assert ir.IntegerAttr(code["instructions"]).value == 1


def test_a_function_without_an_end_is_refused(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        b.addi_s(b.get_register(X, 0), 1)
    with pytest.raises(PassFailure, match=r"^control runs off the end of the function; end it with"):
        EmitPacketsPass().run(function)


def test_a_malformed_memory_attribute_is_refused(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0 = b.get_register(X, 0)
        b.vreg_ld(x0, x0, 31, 0, memory=ir.StringAttr.get("pad0"))
        b.halt_s()
    with pytest.raises(PassFailure, match=r"^atalla.memory: expected a memory access such as 'read pad2"):
        EmitPacketsPass().run(function)


def test_packets_are_left_alone(module: ir.Module):
    b = Builder()
    with b.function("f") as function, b.packet():
        b.halt_s()
    EmitPacketsPass().run(function)
    assert "atalla.code" not in function.attributes


def test_labels_of_unscheduled_code_are_targets(module: ir.Module):
    b = Builder()
    with b.function("f") as function:
        x0 = b.get_register(X, 0)
        b.beq_s(b.addi_s(x0, 1), x0, "elsewhere", 0)
        b.vreg_st(b.get_register(V, 0), x0, x0, 31, 0)
        b.halt_s()
        b.label("elsewhere")
        b.vreg_st(b.get_register(V, 0), x0, x0, 31, 1)
        b.halt_s()
    assert list(run_packets(emitted(module, function)).rows) == [(0, 0)]
