"""Writes the generated pages of this folder; with `--check` only tells which are out of date.

Each page is a function of the package that returns the text, so that a test can compare it too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from atalla_mlir.tools import dialect_page, isa_page, operators_page

PAGES: dict[str, Callable[[], str]] = {
    "dialects.md": dialect_page.page,
    "isa.md": isa_page.page,
    "operators.md": operators_page.page,
}


def main(arguments: list[str]) -> int:
    stale: list[str] = []
    for name, make in PAGES.items():
        file, text = Path(__file__).parent / name, make()
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            file.write_text(text, encoding="utf-8")
    if stale:
        verb = "out of date, run `make docs`:" if "--check" in arguments else "written:"
        sys.stdout.write(f"{verb} {', '.join(stale)}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
