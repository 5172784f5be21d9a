"""Look for compiler errors: compile and verify random models until the time is over.

    python -m atalla_mlir.testing.fuzz --seconds 60

Each failure is printed with the family and seed that reproduce it (`--family NAME --seed N`). Exit status 1 when there
was one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence

from atalla_mlir.errors import AtallaError
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import EDGES, FAMILIES, sample

WIDE = (*EDGES, 128, 257, 300, 1000)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Compile and verify random models.")
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on (default 60)")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="only models of this family")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    options = parser.parse_args(argv)
    families = [options.family] if options.family else list(FAMILIES)
    seeds: Iterator[int] = iter([options.seed]) if options.seed is not None else itertools.count(options.first)
    return _run(((family, seed) for seed in seeds for family in families), options.seconds)


def _run(samples: Iterator[tuple[str, int]], seconds: float) -> int:
    start, tried, failed = time.monotonic(), 0, 0
    for family, seed in samples:
        problem = check(family, seed)
        tried += 1
        if problem is not None:
            failed += 1
            print(f"--family '{family}' --seed {seed}: {problem}", flush=True)
        if time.monotonic() - start > seconds:
            break
    print(f"{tried} models, {failed} failures")
    return 1 if failed else 0


def check(family: str, seed: int, extents: Sequence[int] = WIDE) -> str | None:
    """What is wrong with one random model; None when every kernel is right and everything runs on the device."""
    drawn = sample(family, seed, extents)
    try:
        report = verify(drawn.model, drawn.inputs, strict=True)
    except AtallaError as error:
        return f"{drawn.name}: {type(error).__name__}: {error}"
    return None if report.ok else f"{drawn.name}: {report.summary()}"


if __name__ == "__main__":
    sys.exit(main())
