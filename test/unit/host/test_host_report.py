"""Reports as JSON and as tables."""

from __future__ import annotations

import json

import numpy as np

from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.kernel_check import compare
from atalla_mlir.host.report import OpReport, Report, Shapes, Totals

OP_KEYS = {
    *("name", "aten", "source", "shapes", "max_error", "error_bound", "ok", "device"),
    *("static_slot_fill", "static_slot_fill_nonempty", "dynamic_slot_fill"),
    *("dram_bytes_loaded", "dram_bytes_stored", "flops", "arithmetic_intensity"),
}
TOTAL_KEYS = {
    *("packets_executed", "instructions_executed", "static_slot_fill", "static_slot_fill_nonempty"),
    *("dynamic_slot_fill", "slot_histogram", "dram_bytes_loaded", "dram_bytes_stored", "macs", "flops"),
    *("arithmetic_intensity", "arithmetic_intensity_loads", "device_flops_fraction", "host_ops", "cosine_f32", "ok"),
}


def report(stored: float) -> Report:
    check = compare("mm", np.array([[1.0, stored]]), eb.Bounded(np.ones((1, 2)), np.full((1, 2), 0.25)))
    kernel = OpReport(
        name="mm_relu",
        aten=("aten.mm.default", "aten.relu.default"),
        source="model.py:12",
        shapes=Shapes(((1, 4), (4, 2)), ((1, 2),)),
        device="ax01",
        reason=None,
        flops=18,
        macs=8,
        stores=(check,),
        dynamic_slot_fill=0.5,
        packets_executed=1234,
        dram_bytes_loaded=24,
        dram_bytes_stored=12,
    )
    host = OpReport("sin", ("aten.sin.default",), None, Shapes((), ((1, 2),)), "host", "no lowering", 2, 0)
    totals = Totals(
        packets_executed=1300,
        instructions_executed=2600,
        static_slot_fill=0.4,
        static_slot_fill_nonempty=0.45,
        dynamic_slot_fill=0.5,
        slot_histogram=(0, 300, 400, 300, 300),
        dram_bytes_loaded=24,
        dram_bytes_stored=12,
        macs=8,
        flops=20,
        arithmetic_intensity=20 / 36,
        arithmetic_intensity_loads=20 / 24,
        device_flops_fraction=0.9,
        host_ops=({"name": "sin", "aten": "aten.sin.default", "reason": "no lowering"},),
        cosine_f32=0.99999,
        ok=kernel.ok,
    )
    return Report("layer", (kernel, host), totals)


def test_json_has_every_number_and_is_strict() -> None:
    written = json.loads(json.dumps(report(1.125).to_json(), allow_nan=False))
    kernel, host = written["ops"]
    assert set(kernel) >= OP_KEYS
    assert set(host) == set(kernel)
    assert set(written["totals"]) >= TOTAL_KEYS
    assert (kernel["max_error"], kernel["error_bound"], kernel["worst_ratio"], kernel["ok"]) == (0.125, 0.25, 0.5, True)
    assert kernel["arithmetic_intensity"] == 0.5
    assert kernel["shapes"] == {"inputs": [[1, 4], [4, 2]], "outputs": [[1, 2]]}
    assert kernel["first_wrong"] is None
    assert host["reason"] == "no lowering"
    assert written["totals"]["ok"] is True


def test_a_wrong_kernel_is_named_with_its_element_and_source_line() -> None:
    wrong = report(3.0)
    assert not wrong.ok
    assert wrong.first_wrong is not None
    assert wrong.first_wrong.name == "mm_relu"
    assert wrong.summary() == (
        "layer: 1 of 2 operations are wrong, cosine 0.999990 against float32 PyTorch\n"
        "first wrong: mm_relu [aten.mm.default, aten.relu.default] (model.py:12): "
        "mm[0, 1] is 3, expected 1 within 0.25 (1 of 2 elements are wrong)"
    )
    first = wrong.to_json()["ops"][0]["first_wrong"]
    assert (first["value"], first["indices"], first["stored"], first["num_wrong"]) == ("mm", [0, 1], 3.0, 1)


def test_undefined_results_can_be_written_as_json() -> None:
    kernel = report(float("nan")).to_json()["ops"][0]
    assert kernel["max_error"] == "inf"
    assert kernel["first_wrong"]["stored"] == "nan"
    json.dumps(kernel, allow_nan=False)


def test_the_table_shows_kernels_and_host_operations() -> None:
    lines = str(report(1.125)).splitlines()
    assert lines[0].split()[:3] == ["kernel", "ATen", "shape"]
    assert lines[1].split() == [
        *("mm_relu", "mm", "relu", "1x2", "ax01", "0.125", "0.25", "0.50", "50", "%"),
        *("1,234", "24", "12", "0.50", "ok"),
    ]
    assert lines[2].split() == ["sin", "sin", "1x2", "host", "no", "lowering"]
    assert lines[-1] == "layer: 1 kernel within its error bound, cosine 0.999990 against float32 PyTorch"
