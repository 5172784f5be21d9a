"""What to observe while a pipeline runs: IR before and after passes, and where the time goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

from atalla_mlir.passes.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atalla_mlir._mlir import ir


@dataclass
class Timing:
    """Time, by `clock`, and number of runs per pass name, in the order of the first run."""

    rows: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])
    clock: Callable[[], float] = perf_counter

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = self.clock()
        try:
            yield
        finally:
            seconds, runs = self.rows.get(name, (0.0, 0))
            self.rows[name] = (seconds + self.clock() - start, runs + 1)

    def seconds(self) -> dict[str, float]:
        """Seconds by pass."""
        return {name: seconds for name, (seconds, _) in self.rows.items()}

    def table(self) -> str:
        total = sum(seconds for seconds, _ in self.rows.values())
        lines = ["    time ms  share   runs  pass"]
        for name, (seconds, runs) in sorted(self.rows.items(), key=lambda row: -row[1][0]):
            lines.append(f"{1e3 * seconds:11.3f} {seconds / total if total else 0:6.1%} {runs:6}  {name}")
        lines.append(f"{1e3 * total:11.3f} {1:6.1%}         total")
        return "\n".join(lines)


@dataclass
class Instrumentation:
    """Observation of a run; the defaults observe nothing, verify after each pass and make a failure reproducible."""

    verify: bool = True
    verify_each: bool = True
    """Verify after each pass and not only after the last one of a pipeline."""
    reproducer: bool = True
    """Whether a failing pass leaves a file with its input and tells the command."""
    print_before: frozenset[str] = frozenset()
    """Names of passes whose input is printed."""
    print_after: frozenset[str] = frozenset()
    print_before_all: bool = False
    print_after_all: bool = False
    print_after_change: bool = False
    """Print after those passes that changed something."""
    print_module_scope: bool = False
    """Print the whole module even if the pass ran on a part of it."""
    print_generic: bool = False
    print_locations: bool = False
    timing: Timing | None = None
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    """Where IR is printed."""
    on_diagnostic: Callable[[Diagnostic], None] | None = None
    """Receives warnings and remarks; without it they go to `stream`."""

    def report(self, diagnostic: Diagnostic) -> None:
        if self.on_diagnostic is not None:
            self.on_diagnostic(diagnostic)
        else:
            print(diagnostic, file=self.stream)

    @contextmanager
    def around(self, name: str, op: ir.Operation, root: ir.Operation) -> Iterator[None]:
        """Observe a run of pass `name` on `op`, a part of `root`."""
        shown = root if self.print_module_scope else op
        if self.print_before_all or name in self.print_before:
            self._dump(f"Before {name}", shown, self.asm(shown))
        old = self.asm(shown) if self.print_after_change else None
        with self._timed(name):
            yield
        if self.print_after_all or self.print_after_change or name in self.print_after:
            new = self.asm(shown)
            if self.print_after_all or name in self.print_after or new != old:
                self._dump(f"After {name}", shown, new)

    def around_verifier(self) -> AbstractContextManager[None]:
        return self._timed("(verify)")

    def asm(self, op: ir.Operation) -> str:
        text = op.get_asm(
            enable_debug_info=self.print_locations, print_generic_op_form=self.print_generic, use_local_scope=True
        )
        return str(text).rstrip("\n")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        if self.timing is None:
            yield
            return
        with self.timing.measure(name):
            yield

    def _dump(self, title: str, op: ir.Operation, text: str) -> None:
        symbol = f": @{op.attributes['sym_name'].value}" if "sym_name" in op.attributes else ""
        where = "" if op.name == "builtin.module" else f" ('{op.name}' operation{symbol})"
        print(f"// -----// IR Dump {title}{where} //----- //\n{text}\n", file=self.stream)
