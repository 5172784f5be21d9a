"""Diagnostics as plain values, which outlive the IR that they are about."""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir._mlir import file_position, ir


@dataclass(frozen=True)
class Diagnostic:
    """A message about a place: `line` and `column` are 1-based; all three are None when it is not in a file."""

    severity: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    notes: tuple[Diagnostic, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file is not None else ""
        return "\n".join([f"{place}{self.severity}: {self.message}", *map(str, self.notes)])

    @staticmethod
    def at(location: ir.Location, severity: str, message: str, notes: tuple[Diagnostic, ...] = ()) -> Diagnostic:
        position = file_position(location)
        if position is None:
            return Diagnostic(severity, message, notes=notes)
        return Diagnostic(severity, message, *position, notes=notes)

    @staticmethod
    def from_mlir(diagnostic: ir.Diagnostic | ir.DiagnosticInfo) -> Diagnostic:
        """A copy of what MLIR reports; the notes that repeat the whole operation are left out."""
        notes = (Diagnostic.from_mlir(note) for note in diagnostic.notes)
        return Diagnostic.at(
            diagnostic.location,
            diagnostic.severity.name.lower(),
            diagnostic.message,
            tuple(note for note in notes if not note.message.startswith("see current operation:")),
        )


def of_mlir_error(error: ir.MLIRError) -> tuple[Diagnostic, ...]:
    """The diagnostics of a failed call into MLIR; at least one."""
    found = tuple(Diagnostic.from_mlir(info) for info in error.error_diagnostics)
    return found or (Diagnostic("error", str(error.message)),)
