"""What the compiler chose for each kernel of a loadable, for people (docs/decisions.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atalla_mlir.loadable.format import Loadable


def decisions_text(loadable: Loadable) -> str:
    """For each function a line with the launches that run it, and a line for each of its loop nests."""
    launches: dict[str, list[Mapping[str, Any]]] = {}
    for row in loadable.meta.get("kernels", ()):
        launches.setdefault(row["function"], []).append(row)
    return "\n".join(line for function, rows in launches.items() for line in _lines(function, rows))


def _lines(function: str, rows: list[Mapping[str, Any]]) -> Iterator[str]:
    results = " ".join("x".join(map(str, output["shape"])) or "scalar" for output in rows[0]["outputs"])
    names = ", ".join(row["name"] for row in rows)
    yield f"{function} ({results}): {names}"
    for nest in rows[0].get("decisions", ()):
        predicted = nest.get("predicted_cycles")
        cycles = "" if predicted is None else f"; {predicted:,} cycles predicted"
        ways = f", best of {nest['ways']}" if nest["ways"] > 1 else ""
        yield f"  {nest['form']}{cycles}{ways}"
        for key, title in (("fields", "can be fixed"), ("facts", "follows")):
            if nest[key]:
                yield f"    {title}: {', '.join(f'{name} {_text(value)}' for name, value in nest[key].items())}"
    for key, title in (("found_bytes", "found in"), ("fetched_bytes", "fetched for")):
        sizes = [row["ahead"][key] for row in rows if row.get("ahead", {}).get(key)]
        if sizes:
            plural = "es" if len(sizes) > 1 else ""
            yield f"    first columns: {title} {len(sizes)} launch{plural}, {sum(sizes):,} bytes"


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
