"""atalla-run in process: outputs, files, verification, exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from atalla_mlir import zoo
from atalla_mlir.runtime.device_registry import device_names
from atalla_mlir.tools import atalla_compile
from atalla_mlir.tools.atalla_run import main

SMALL = ["zoo:basic", "--arg", "dim=8", "--arg", "depth=1", "--engine", "reference"]
DOCUMENTED_ROW_KEYS = {
    "name",
    "aten",
    "source",
    "shapes",
    "max_error",
    "error_bound",
    "ok",
    "device",
    "static_slot_fill",
    "static_slot_fill_nonempty",
    "dynamic_slot_fill",
    "dram_bytes_loaded",
    "dram_bytes_stored",
    "flops",
    "arithmetic_intensity",
}
DOCUMENTED_TOTALS = {
    "packets_executed",
    "instructions_executed",
    "static_slot_fill",
    "static_slot_fill_nonempty",
    "dynamic_slot_fill",
    "slot_histogram",
    "dram_bytes_loaded",
    "dram_bytes_stored",
    "macs",
    "flops",
    "arithmetic_intensity",
    "arithmetic_intensity_loads",
    "device_flops_fraction",
    "host_ops",
    "cosine_f32",
    "ok",
}


def test_run_prints_outputs_and_counters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("add_1: float32[4, 8] sum ")
    assert lines[1].startswith("on ax01: ")
    assert lines[2].startswith("executed ")
    assert err == ""


def test_verify_writes_the_documented_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    assert main([*SMALL, "--verify", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert "within their error bounds" in capsys.readouterr().out
    assert all(row.keys() >= DOCUMENTED_ROW_KEYS for row in report["ops"])
    assert report["totals"].keys() >= DOCUMENTED_TOTALS
    assert report["totals"]["host_ops"] == []
    assert report["totals"]["ok"] is True
    assert report["totals"]["cosine_f32"] > 0.9999
    # 4 rows through 8x8 weights twice
    assert report["totals"]["macs"] == 2 * 4 * 8 * 8
    assert sum(report["totals"]["slot_histogram"]) == report["totals"]["packets_executed"]


def test_json_to_stdout_is_nothing_but_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--verify", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["ok"] is True


def test_saved_loadable_with_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loadable, inputs, output = tmp_path / "basic.atalla", tmp_path / "x.npy", tmp_path / "y.npy"
    assert atalla_compile.main([*SMALL[:5], "-o", str(loadable)]) == 0
    assert f"{loadable}: " in capsys.readouterr().out
    model, (x,) = zoo.build("basic", dim=8, depth=1)
    np.save(inputs, x.numpy())
    assert main([str(loadable), "--input", str(inputs), "--output", str(output), "--engine", "reference"]) == 0
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(np.load(output), expected, rtol=2e-2, atol=2e-2)


def test_a_file_may_come_from_a_computer_of_another_byte_order(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    results: list[np.ndarray] = []
    for order in "<>":
        np.save(tmp_path / "x.npy", x.astype(f"{order}f4"))
        assert main([*SMALL, "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]) == 0
        results.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_array_equal(results[0], results[1])


def test_inputs_by_name_replace_the_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "zeros.npy", np.zeros((4, 8), np.float32))
    output = tmp_path / "y.npy"
    assert main([*SMALL, "--input", f"x={tmp_path / 'zeros.npy'}", "--output", str(output)]) == 0
    result = np.load(output)
    assert (result == result[0]).all()


def test_a_wrong_result_has_its_own_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    from atalla_mlir.host import report

    monkeypatch.setattr(report.Report, "ok", property(lambda self: False))
    assert main([*SMALL, "--verify"]) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "a model is missing; see atalla-run --help"),
        (
            ["zoo:mlp", "--json", "-"],
            2,
            "--json writes the report of --verify or --profile, which is missing; see atalla-run --help",
        ),
        (
            ["x.atalla", "--verify"],
            2,
            "a loadable has no model to verify or to compile; name the model instead; see atalla-run --help",
        ),
        (
            ["x.atalla", "--seed", "3"],
            2,
            "a loadable has no model to verify or to compile; name the model instead; see atalla-run --help",
        ),
        ([*SMALL, "--engine", "slow"], 1, f"no device 'slow'; there are auto, {', '.join(device_names())}"),
        ([*SMALL, "--input", "absent.npy"], 1, "absent.npy: no such file"),
        ([*SMALL, "--input", "z=absent.npy"], 1, "--input z=absent.npy: the program takes x: float32[4, 8]"),
        ([*SMALL, "--output", "y.txt"], 1, "--output y.txt: expected a .npy file for one output"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"atalla-run: error: {message}\n"


def test_a_loadable_needs_its_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loadable = tmp_path / "basic.atalla"
    atalla_compile.main([*SMALL[:5], "-o", str(loadable)])
    capsys.readouterr()
    assert main([str(loadable)]) == 1
    assert capsys.readouterr().err == "atalla-run: error: no --input for x: float32[4, 8]\n"


def test_profile_prints_kernels_and_causes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--profile"]) == 0
    out = capsys.readouterr().out
    assert "cycles by cause" in out
    assert "dma_wait" in out
    assert "of them in kernels" in out


@pytest.mark.parametrize("options", [["--profile"], ["--profile", "--verify"]])
def test_profile_as_json(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *options, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    totals = report["totals"]
    assert totals["cycles"] == sum(totals["stalls"].values()) > sum(row["cycles"] for row in report["ops"]) > 0
    assert ("cosine_f32" in totals) == ("--verify" in options)


def test_a_loadable_can_be_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loadable, inputs = tmp_path / "basic.atalla", tmp_path / "x.npy"
    assert atalla_compile.main([*SMALL[:5], "-o", str(loadable)]) == 0
    np.save(inputs, zoo.build("basic", dim=8, depth=1)[1][0].numpy())
    capsys.readouterr()
    assert main([str(loadable), "--input", str(inputs), "--profile", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "basic"
    assert report["totals"]["cycles"] > 0


def test_trace_writes_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.json"
    assert main([*SMALL, "--trace", str(path), "--trace-window", ":900"]) == 0
    events = json.loads(path.read_text())["traceEvents"]
    assert {event["cat"] for event in events if "cat" in event} >= {"op", "kernel", "issue", "stall", "unit", "dma"}
    assert max(event["ts"] + event["dur"] for event in events if "ts" in event) <= 900
    assert "executed " in capsys.readouterr().out


def test_a_device_without_observers_leaves_no_trace_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.json"
    assert main([*SMALL, "--engine", "legacy-fs", "--trace", str(path)]) == 1
    assert "engine 'legacy-fs' cannot be observed" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--trace", "/dev/full"]) == 1
    assert capsys.readouterr().err == "atalla-run: error: no space left on device\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trace-window", "1:2"], "--trace-window is about --trace, which is missing"),
        (["--trace", "t.json", "--verify"], "--trace and --verify are two runs"),
    ],
)
def test_wrong_use_of_trace(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo:mlp", *options]) == 2
    assert message in capsys.readouterr().err


def test_memory_writes_a_picture_and_the_report_has_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, report = tmp_path / "plan.svg", tmp_path / "out.json"
    arguments = ["zoo:basic", "--verify", "--memory", str(picture), "--json", str(report)]
    assert main(arguments) == 0
    assert picture.read_text().startswith("<svg ")
    out = capsys.readouterr().out
    assert "arena of " in out
    assert "pads: at most " in out
    memory = json.loads(report.read_text())["memory"]
    assert memory["arena_live_bytes"] <= memory["arena_bytes"] <= memory["dram_bytes"]
