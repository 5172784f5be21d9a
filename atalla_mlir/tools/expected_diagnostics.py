"""The annotations of `--verify-diagnostics`, as in upstream's tools.

    // expected-error@+1 {{a part of the message}}
    // expected-warning-re@above {{a regular expression}}

The place is `@+N`, `@-N`, `@above`, `@below`, `@unknown` (a diagnostic without position) or, without `@`, the
annotation's own line. Notes need no annotation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from atalla_mlir.passes.diagnostics import Diagnostic

_ANNOTATION = re.compile(
    r"expected-(?P<severity>error|warning|remark|note)(?P<regex>-re)?\s*"
    r"(?:@(?P<place>[+-]\d+|above|below|unknown))?\s*\{\{(?P<message>.*?)\}\}"
)


@dataclass(frozen=True)
class Expectation:
    """A diagnostic that must come, on 1-based `line` (None: without position)."""

    severity: str
    line: int | None
    message: str
    is_regex: bool

    def matches(self, diagnostic: Diagnostic) -> bool:
        if (diagnostic.severity, diagnostic.line) != (self.severity, self.line):
            return False
        if self.is_regex:
            return re.search(self.message, diagnostic.message) is not None
        return self.message in diagnostic.message


def expectations(text: str) -> list[Expectation]:
    """The annotations of `text`, in order."""
    found: list[Expectation] = []
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _ANNOTATION.finditer(line):
            place = _line_of(match["place"], number)
            found.append(Expectation(match["severity"], place, match["message"], match["regex"] is not None))
    return found


def differences(text: str, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """What was reported but not expected, and what was expected in `text` but not reported, as errors."""
    missing = expectations(text)
    wrong: list[Diagnostic] = []
    for diagnostic in _with_notes(diagnostics):
        match = next((expected for expected in missing if expected.matches(diagnostic)), None)
        if match is not None:
            missing.remove(match)
        elif diagnostic.severity != "note":
            message = f"unexpected {diagnostic.severity}: {diagnostic.message}"
            wrong.append(Diagnostic("error", message, diagnostic.file, diagnostic.line, diagnostic.column))
    for expected in missing:
        message = f'expected {expected.severity} "{expected.message}" was not produced'
        file = None if expected.line is None else "-"
        wrong.append(Diagnostic("error", message, file, expected.line, 1))
    return wrong


def _line_of(place: str | None, line: int) -> int | None:
    if place is None:
        return line
    if place == "unknown":
        return None
    return line + {"above": -1, "below": 1}.get(place, 0) if place.isalpha() else line + int(place)


def _with_notes(diagnostics: Iterable[Diagnostic]) -> Iterable[Diagnostic]:
    for diagnostic in diagnostics:
        yield diagnostic
        yield from diagnostic.notes
