"""atalla-translate: programs from one form to another.

Exit status: 0 success, 1 the input is wrong, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.tools import command_line
from atalla_mlir.tools.command_line import UsageError

if TYPE_CHECKING:
    import numpy as np

    from atalla_mlir._mlir import ir
    from atalla_mlir.loadable.format import Loadable

PROGRAM = "atalla-translate"

_EXAMPLES = f"""\
examples:
  atalla-translate --to-blob packets.mlir -o program.atalla
  atalla-translate --to-blob packets.mlir --parameters weights.npz -o program.atalla
  atalla-translate --blob-to-asm program.atalla | less
  atalla-translate --blob-to-asm program.atalla | atalla-translate --asm-to-blob - -o same.atalla
  atalla-translate --in-to-blob program.in --machine ax01 | atalla-run -

IR must be in packets: atalla-opt with the passes of the stage 'schedule' makes it. A blob is a loadable.
{command_line.EXIT_STATUS_HELP}
"""

_MODES = {
    "to-blob": "IR in packets to a loadable",
    "to-asm": "IR in packets to assembly text",
    "blob-to-asm": "a loadable to assembly text that says everything it holds",
    "asm-to-blob": "that text to the same loadable, or any assembly text to one with code and data",
    "blob-to-in": "a loadable to an .in image of the existing emulator (code and data only)",
    "in-to-blob": "an .in image to a loadable with one entry 'main' without tensors",
}


def _parser() -> command_line.Parser:
    parser = command_line.Parser(
        PROGRAM, "Translate programs between IR, assembly text, loadables and .in images.", _EXAMPLES
    )
    modes = parser.add_mutually_exclusive_group()
    for mode, what in _MODES.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=what)
    parser.add_argument("input", nargs="?", default="-", metavar="FILE", help="input, - is stdin (default)")
    parser.add_argument("-o", dest="output", default="-", metavar="FILE", help="output, - is stdout (default)")
    parser.add_argument(
        "--parameters",
        metavar="FILE.npz",
        help="values of the parameters that the IR names",
    )
    parser.add_argument("--machine", metavar="NAME", help="parameter set (default: the one that the IR names, or ax01)")
    parser.add_argument("--version", action="store_true", help="versions")
    parser.add_argument("--debug", action="store_true", help="show Python tracebacks of errors")
    return parser


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with `argv` (default: the process's) on the given streams; the exit status.

    Streams carry bytes: a given one must have a `buffer`, as the process's own have.
    """
    return command_line.run(PROGRAM, lambda: _run(argv, stdin or sys.stdin), argv, stdout, stderr)


def _run(argv: Sequence[str] | None, stdin: TextIO) -> int:
    options = _parser().parse_args(argv)
    if options.version:
        from atalla_mlir.tools.versions import versions

        print(versions(PROGRAM))
        return command_line.SUCCESS
    if options.mode is None:
        raise UsageError(f"say what to do: {', '.join(f'--{mode}' for mode in _MODES)}")
    for option, prefixes in (("parameters", ("to-",)), ("machine", ("to-", "in-"))):
        if getattr(options, option) and not options.mode.startswith(prefixes):
            raise UsageError(f"--{option} has no meaning with --{options.mode}")
    data = stdin.buffer.read() if options.input == "-" else Path(options.input).read_bytes()
    name = "<stdin>" if options.input == "-" else options.input
    result = _translate(options, data, name)
    if options.output == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
    else:
        Path(options.output).write_bytes(result)
    return command_line.SUCCESS


def _translate(options: argparse.Namespace, data: bytes, name: str) -> bytes:
    readers: Mapping[str, Callable[[], Loadable]] = {
        "to": lambda: _from_ir(options, data, name),
        "blob": lambda: _from_blob(data, name),
        "asm": lambda: _from_assembly(data, name),
        "in": lambda: _from_image(options, data, name),
    }
    source, target = options.mode.split("-", 1)
    loadable = readers[source]()
    match target.removeprefix("to-"):
        case "asm":
            from atalla_mlir.translate.assembly_text import to_assembly

            return to_assembly(loadable).encode()
        case "in":
            from atalla_mlir.translate.images import to_image

            return to_image(loadable).encode()
        case _:
            from atalla_mlir.loadable.writer import write_loadable

            return write_loadable(loadable)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name}: not UTF-8 text at byte {error.start}") from None


def _from_blob(data: bytes, name: str) -> Loadable:
    from atalla_mlir.loadable.format import LoadableError
    from atalla_mlir.loadable.reader import read_loadable

    try:
        return read_loadable(data)
    except LoadableError as error:
        raise LoadableError(f"{name}: {error}", error.damage) from None


def _from_assembly(data: bytes, name: str) -> Loadable:
    from atalla_mlir.translate.assembly_reader import assemble

    return assemble(_text(data, name), name)


def _from_image(options: argparse.Namespace, data: bytes, name: str) -> Loadable:
    from atalla_mlir.target.machine import machine
    from atalla_mlir.translate.images import from_image

    return from_image(_text(data, name), name, machine(options.machine or "ax01"))


def _from_ir(options: argparse.Namespace, data: bytes, name: str) -> Loadable:
    try:
        from atalla_mlir._mlir import context, ir
    except ImportError as error:
        raise ConfigurationError(f"reading IR needs torch-mlir, which is not installed ({error})") from None
    from atalla_mlir.target.machine import machine
    from atalla_mlir.translate.module import to_loadable

    target = machine(options.machine) if options.machine else None
    parameters = _parameters(options)
    with context():
        try:
            # bytes: the text may be bytecode
            module = ir.Module.parse(data) if data.startswith(b"ML\xefR") else ir.Module.parse(_text(data, name))
        except ir.MLIRError as error:
            raise BadInputError(_diagnostics(error, name)) from None
        return to_loadable(module, parameters, target)


def _diagnostics(error: ir.MLIRError, name: str) -> str:
    """What MLIR says about its input, which it calls "-", one message to a line."""
    from atalla_mlir.passes.diagnostics import of_mlir_error

    found = of_mlir_error(error)
    return "\n".join(str(dataclasses.replace(item, file=name) if item.file == "-" else item) for item in found)


def _parameters(options: argparse.Namespace) -> dict[str, np.ndarray] | None:
    import numpy as np

    path = options.parameters
    if path is None:
        # text is for looking at code, which does not need the weights
        return None if options.mode == "to-asm" else {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, EOFError) as error:
        raise BadInputError(f"{path}: not a NumPy .npz file of arrays: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
