"""Files for a test bench of the real core, and its results compared with the simulator's.

The first run writes images for $readmemh, the words of DRAM that must come out, and a trace for lock-step comparison.
Then the bench runs and leaves results.hex in $writememh form. Here a few lines of Python stand for it: they know the
machine only through an independent simulator, and the program only through the files. The second run compares.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from atalla_mlir.compiler import compile_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.runtime.faults import DeviceError
from atalla_mlir.sim import create_engine
from atalla_mlir.zoo import registry


def read_memory(path: Path, item_bytes: int) -> dict[int, bytes]:
    """What $readmemh makes of a file: number -> item."""
    items: dict[int, bytes] = {}
    number = 0
    for word in re.sub(r"//.*", "", path.read_text()).split():
        if word.startswith("@"):
            number = int(word[1:], 16)
        else:
            items[number] = int(word, 16).to_bytes(item_bytes, "little")
            number += 1
    return items


def run_bench(folder: Path) -> None:
    """What the test bench does: memories from files, reset, run to the halt, memory to a file."""
    core = create_engine("reference")
    for number, packet in read_memory(folder / "code.hex", 20).items():
        core.load_code(20 * number, packet)
    for number, word in read_memory(folder / "dram.hex", 4).items():
        core.write_dram(4 * number, word)
    core.reset()
    core.run()
    lines: list[str] = []
    for number in read_memory(folder / "expected.hex", 4):
        lines += [f"@{number:x}", core.read_dram(4 * number, 4)[::-1].hex()]
    (folder / "results.hex").write_text("\n".join(lines) + "\n")


def main() -> None:
    model, (x,) = registry.build("basic")
    loadable = compile_model(model, (x,))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TorchProgram(loadable, engine=f"testbench:{folder / 'bench'},trace")(x)
        run = folder / "bench" / "run0"
        for path in sorted(run.iterdir()):
            print(f"{path.name}: {len(path.read_text().splitlines())} lines")
        run_bench(run)
        print((run / "run.txt").read_text().splitlines()[3])
        (folder / "again").mkdir()
        run.rename(folder / "again" / "run0")
        y = TorchProgram(loadable, engine=f"testbench:{folder / 'again'},compare")(x)
        print(f"the bench is right, output sum {y.sum():.4f}")
        damage(folder / "again" / "run0" / "results.hex", folder / "wrong" / "run0")
        try:
            TorchProgram(loadable, engine=f"testbench:{folder / 'wrong'},compare")(x)
        except DeviceError as error:
            print(str(error).replace(str(folder), "FOLDER"))


def damage(results: Path, folder: Path) -> None:
    """The results of a bench that gets its last word wrong."""
    folder.mkdir(parents=True)
    lines = results.read_text().splitlines()
    (folder / "results.hex").write_text("\n".join([*lines[:-1], "deadbeef"]) + "\n")


if __name__ == "__main__":
    main()
