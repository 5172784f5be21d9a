"""Programs that come out of atalla-translate run, whichever way they took."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from atalla_mlir.tools import atalla_compile, atalla_run, atalla_translate

SMALL = ["zoo:mlp", "--arg", "inputs=8", "--arg", "hidden=8", "--arg", "outputs=4", "--arg", "batch=2"]


class _Bytes(io.TextIOWrapper):
    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data))

    @property
    def data(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model, the same model in packets with its parameters, an input and the result."""
    path = tmp_path_factory.mktemp("translated")
    assert atalla_compile.main([*SMALL, "-o", str(path / "model.atalla")]) == 0
    in_packets = ["--stop-after=schedule", "-o", str(path / "packets.mlir"), "--parameters", str(path / "w.npz")]
    assert atalla_compile.main([*SMALL, *in_packets]) == 0
    np.save(path / "x.npy", np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8))
    _run(path, "model.atalla", "expected.npy")
    return path


def _run(path: Path, program: str, output: str) -> None:
    files = ["--input", str(path / "x.npy"), "--output", str(path / output)]
    assert atalla_run.main([str(path / program), *files, "--engine", "reference"]) == 0


def _translate(path: Path, mode: str, source: str, target: str, *more: str) -> None:
    assert atalla_translate.main([mode, str(path / source), "-o", str(path / target), *more]) == 0


def test_packets_and_parameters_are_the_program(folder: Path) -> None:
    _translate(folder, "--to-blob", "packets.mlir", "linked.atalla", "--parameters", str(folder / "w.npz"))
    _run(folder, "linked.atalla", "linked.npy")
    np.testing.assert_array_equal(np.load(folder / "linked.npy"), np.load(folder / "expected.npy"))


def test_packets_without_parameters_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert atalla_translate.main(["--to-blob", str(folder / "packets.mlir")]) == 1
    assert "atalla-translate takes values with --parameters" in capsys.readouterr().err


def test_assembly_gives_the_same_bytes(folder: Path) -> None:
    _translate(folder, "--blob-to-asm", "model.atalla", "model.s")
    _translate(folder, "--asm-to-blob", "model.s", "again.atalla")
    assert (folder / "again.atalla").read_bytes() == (folder / "model.atalla").read_bytes()


def test_images_run_in_pipes(folder: Path) -> None:
    image, blob, out = _Bytes(), _Bytes(), io.StringIO()
    loadable = _Bytes((folder / "model.atalla").read_bytes())
    assert atalla_translate.main(["--blob-to-in"], loadable, image) == 0
    assert atalla_translate.main(["--in-to-blob"], _Bytes(image.data), blob) == 0
    assert atalla_run.main(["-", "--engine", "reference"], _Bytes(blob.data), out) == 0
    assert out.getvalue().startswith("executed ")


def test_a_module_that_is_not_in_packets_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "import.mlir"
    assert atalla_compile.main([*SMALL, "--stop-after=import", "-o", str(path)]) == 0
    assert atalla_translate.main(["--to-blob", str(path)]) == 1
    assert capsys.readouterr().err == (
        "atalla-translate: error: function 'main' is a func.func and not in packets; atalla-opt with the passes of the "
        "stage 'schedule' or atalla-compile --stop-after=schedule makes them\n"
    )


def test_inputs_of_a_program_without_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _translate(folder, "--to-blob", "packets.mlir", "linked.atalla", "--parameters", str(folder / "w.npz"))
    linked = str(folder / "linked.atalla")
    assert atalla_run.main([linked]) == 1
    assert atalla_run.main([linked, "--input", f"z={folder / 'x.npy'}"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "atalla-run: error: no --input for x: f32[2, 8]",
        f"atalla-run: error: --input z={folder / 'x.npy'}: the program takes x: f32[2, 8]",
    ]
