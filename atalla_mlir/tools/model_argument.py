"""Models as command-line arguments: `zoo:NAME`, `file.py:factory`, `model.pt2` or `model.onnx`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from atalla_mlir.errors import BadInputError

if TYPE_CHECKING:
    from importlib.abc import Loader

    from atalla_mlir.frontend.entry_points import EntryPoint

HELP = "zoo:NAME, FILE.py:FACTORY (returns module and example inputs), FILE.pt2 or FILE.onnx"


@dataclass(frozen=True)
class LoadedModel:
    """A model and the arguments that it is captured with."""

    name: str
    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    entries: Mapping[str, EntryPoint] | None = None
    """Several ways to call it, instead of `args` and `kwargs`."""

    def entry_points(self) -> Mapping[str, EntryPoint]:
        """All ways to call it, by name."""
        from atalla_mlir.frontend.entry_points import DEFAULT_NAME, EntryPoint

        return self.entries or {DEFAULT_NAME: EntryPoint(self.args, self.kwargs)}

    def entry_point(self, name: str | None) -> EntryPoint:
        """The way to call it that is called `name`, or the only one."""
        points = self.entry_points()
        if name is None and len(points) == 1:
            return next(iter(points.values()))
        if name is None or name not in points:
            wanted = f"no entry point '{name}'" if name else "several entry points"
            raise BadInputError(f"{self.name} has {wanted}; choose one with --entry: {', '.join(points)}")
        return points[name]


def load_entries(
    argument: str, factory_arguments: Mapping[str, object], texts: Sequence[str], *, seed: int = 0
) -> LoadedModel:
    """The model that `argument` names with an entry point for each of `texts`, which are `NAME:ARG=VALUE,...`.

    Each is called with the example inputs that the factory makes for those arguments; the model is that of the first.
    """
    from atalla_mlir.frontend.entry_points import EntryPoint

    first: LoadedModel | None = None
    entries: dict[str, EntryPoint] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        if name in entries:
            raise BadInputError(f"--entry {text}: there is an entry point '{name}' already")
        own = parse_factory_arguments([item for item in rest.split(",") if item], option="--entry")
        loaded = load_model(argument, {**factory_arguments, **own}, seed=seed)
        if loaded.entries is not None:
            raise BadInputError(
                f"--entry {text}: {loaded.name} names its entry points itself: {', '.join(loaded.entries)}"
            )
        first = first or loaded
        entries[name] = EntryPoint(loaded.args, loaded.kwargs)
    assert first is not None
    return replace(first, args=(), kwargs={}, entries=entries)


def load_model(argument: str, factory_arguments: Mapping[str, object], *, seed: int = 0) -> LoadedModel:
    """The model that `argument` names; `factory_arguments` go to the zoo's or the file's factory."""
    if argument.startswith("zoo:"):
        return _from_zoo(argument.removeprefix("zoo:"), factory_arguments, seed)
    if argument.endswith(".pt2"):
        return _from_exported(Path(argument), factory_arguments)
    if argument.endswith(".onnx"):
        return _from_onnx(Path(argument), factory_arguments, seed)
    path, colon, function = argument.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), function, factory_arguments, seed)
    raise BadInputError(f"cannot tell what model '{argument}' is; expected {HELP}")


def parse_factory_arguments(texts: Sequence[str], *, option: str = "--arg") -> dict[str, object]:
    """`["dim=64", "name=small"]` as Python values; what is no Python literal is a string."""
    arguments: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise BadInputError(f"{option} {text}: expected NAME=VALUE")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[name] = value
    return arguments


def _from_zoo(name: str, arguments: Mapping[str, object], seed: int) -> LoadedModel:
    from atalla_mlir import zoo

    module, inputs = zoo.build(name, seed=seed, **arguments)
    return LoadedModel(name, module, inputs, {})


def _from_exported(path: Path, arguments: Mapping[str, object]) -> LoadedModel:
    from atalla_mlir.frontend.exported import load_exported

    if arguments:
        raise BadInputError("an exported model takes no --arg; its shapes are in the file")
    exported = load_exported(path)
    if exported.example_inputs is None:
        raise BadInputError(f"{path}: holds no example inputs; export the model with them")
    args, kwargs = exported.example_inputs
    return LoadedModel(path.stem, exported, tuple(args), kwargs)


def _from_onnx(path: Path, arguments: Mapping[str, object], seed: int) -> LoadedModel:
    from atalla_mlir.frontend.onnx_file import load_onnx

    file = load_onnx(path)
    extents: dict[str, int] = {}
    for name, value in arguments.items():
        if not isinstance(value, int) or value < 1:
            raise BadInputError(f"--arg {name}={value}: an extent of an ONNX model is an integer of at least 1")
        extents[name] = value
    args = file.example_inputs(extents, seed)
    return LoadedModel(path.stem, file.module(args), args, {})


def _from_file(path: Path, function: str, arguments: Mapping[str, object], seed: int) -> LoadedModel:
    import torch

    factory = getattr(_module(path), function, None)
    if not callable(factory):
        raise BadInputError(f"{path}: has no function '{function}'")
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise BadInputError(f"{path}: {function}: {error}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = factory(**arguments)
    if not isinstance(built, (tuple, list)) or len(built) != 2:
        raise BadInputError(f"{path}: {function} must return (module, example inputs), got {type(built).__name__}")
    module, inputs = built
    if not isinstance(module, (torch.nn.Module, torch.export.ExportedProgram)):
        raise BadInputError(f"{path}: {function} must return a module first, got {type(module).__name__}")
    if _are_entries(inputs):
        return LoadedModel(function, module, (), {}, inputs)
    return LoadedModel(function, module, inputs if isinstance(inputs, tuple) else _as_tuple(inputs), {})


def _are_entries(inputs: Any) -> bool:
    from atalla_mlir.frontend.entry_points import EntryPoint

    return isinstance(inputs, dict) and bool(inputs) and all(isinstance(v, EntryPoint) for v in inputs.values())


def _as_tuple(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, list) else (inputs,)


def _module(path: Path) -> ModuleType:
    """The file as a module, found by its tracebacks and able to import its neighbours, as when run as a script."""
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise BadInputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        _execute(spec.loader, module)
    except Exception as error:
        raise BadInputError(f"{path}: {type(error).__name__}: {_first_line(error)}") from error
    return module


def _execute(loader: Loader, module: ModuleType) -> None:
    """Run the file; once more where torchvision, which it imports, could not be imported without help."""
    from atalla_mlir.frontend.torchvision_operators import declare_missing

    try:
        loader.exec_module(module)
    except RuntimeError as error:
        if not declare_missing(error):
            raise
        loader.exec_module(module)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
