"""The compiler as a list: the stages of the flow, each a list of passes, in the order in which they run.

The names of the stages are those of the flow table in the README; `atalla-compile --stop-after` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from atalla_mlir._mlir import ir
from atalla_mlir.errors import BadInputError
from atalla_mlir.passes.instrumentation import Timing
from atalla_mlir.passes.manager import Instrumentation, run_pipeline
from atalla_mlir.target.machine import AX01, Machine

__all__ = ["STAGE_NAMES", "ImageChoice", "Instrumentation", "Options", "Stage", "Timing", "lower_module", "stages"]


ImageChoice = Literal["worth", "always", "never"]


@dataclass(frozen=True)
class Options:
    """What a user may choose about a compilation."""

    machine: Machine = AX01
    fuse: bool = True
    """Fuse operations into kernels; without it every operation is a kernel of its own."""
    chains: bool = True
    """Make two products one kernel where what lies between fits into the pads."""
    images: ImageChoice = "worth"
    """Which images and matrices between kernels stay in the pads where they fit: worth it, all, none."""
    ahead: bool = True
    """Let kernels fetch the first parameters that the next one waits for."""
    reuse_memory: bool = True
    """Let values between kernels share DRAM addresses when they are not alive at the same time."""
    permute_inputs: bool = True
    """Expect inputs in the order in which the device works on them, which the loadable states; else row-major."""
    encode: bool = False
    """Leave packets as bytes, for those who do not look at them; else as operations."""
    decisions: str = ""
    """Rules in JSON that fix what would be chosen by predicted cycles (`atalla-fix-decisions`)."""

    def __post_init__(self) -> None:
        if self.images not in get_args(ImageChoice):
            choices = ", ".join(get_args(ImageChoice))
            raise BadInputError(f"which images stay in the pads is one of {choices}, not '{self.images}'")


@dataclass(frozen=True)
class Stage:
    """A stage of the flow and the passes that it runs on the module."""

    name: str
    passes: tuple[str, ...]

    def pipeline(self) -> str:
        return f"builtin.module({','.join(self.passes)})"


def stages(options: Options) -> tuple[Stage, ...]:
    """The stages after import, in order."""
    machine = options.machine.name.split("+")[0]
    fuse, reuse = str(options.fuse).lower(), str(options.reuse_memory).lower()
    chains = str(options.chains).lower()
    encode = " encode=true" if options.encode else ""
    permute = str(options.permute_inputs).lower()
    return (
        Stage(
            "legalize",
            (
                "atalla-demote-floats",
                "func.func(linalg-generalize-named-ops)",
                "canonicalize",
                "cse",
                f"atalla-assign-layouts{{permute-inputs={permute}}}",
                "func.func(atalla-pack-constants)",
                "atalla-turn-operands",
                "canonicalize",
                "cse",
            ),
        ),
        Stage(
            "fuse",
            (
                f"atalla-form-kernels{{fuse={fuse} chains={chains}}}",
                *_keeping(options, machine),
                *_fixing(options),
                *((f"atalla-fetch-ahead{{machine={machine}}}",) if options.ahead else ()),
                f"atalla-plan-memory{{reuse={reuse}}}",
            ),
        ),
        Stage("tile", (f"convert-linalg-to-atalla{{machine={machine}}}", "cse")),
        # kernels are simplified one by one, until each changes no more; their loops have no branches to simplify
        Stage(
            "place",
            (
                f"atalla-place-tiles{{machine={machine}}}",
                "atalla.kernel(canonicalize{region-simplify=disabled})",
                "cse",
            ),
        ),
        Stage("lower", (f"convert-atalla-to-ax01{{machine={machine}}}",)),
        Stage("schedule", (f"ax01.func(atalla-emit-packets{{machine={machine}{encode}}})",)),
    )


def _keeping(options: Options, machine: str) -> tuple[str, ...]:
    """The pass that keeps images in the pads; without reuse of memory each value has a place in DRAM."""
    if options.images == "never" or not options.reuse_memory:
        return ()
    return (*_fixing(options, " early=true"), f"atalla-keep-images{{machine={machine} keep={options.images}}}")


def _fixing(options: Options, when: str = "") -> tuple[str, ...]:
    """The pass that notes decisions, where there are any; a quote in one is written as JSON can."""
    text = options.decisions.replace("'", "\\u0027")
    return (f"atalla-fix-decisions{{rules='{text}'{when}}}",) if text else ()


STAGE_NAMES = ("import", *(stage.name for stage in stages(Options())))


def lower_module(
    module: ir.Module,
    options: Options | None = None,
    *,
    stop_after: str = "schedule",
    instrumentation: Instrumentation | None = None,
    after_stage: Callable[[str, ir.Module], None] | None = None,
) -> None:
    """Run the stages on an imported module, in place, up to and including `stop_after`.

    `after_stage` gets the name of each stage that ran, and the module that it left.
    """
    if stop_after not in STAGE_NAMES:
        raise BadInputError(f"no stage '{stop_after}'; the stages are {', '.join(STAGE_NAMES)}")
    if stop_after == "import":
        return
    for stage in stages(options or Options()):
        run_pipeline(module, stage.pipeline(), instrumentation)
        if after_stage is not None:
            after_stage(stage.name, module)
        if stage.name == stop_after:
            return
