"""Look for differences between the engines and for compiler errors on random programs and models.

    python -m atalla_mlir.testing.fuzz --count 10000 --seed 1
    python -m atalla_mlir.testing.fuzz --seconds 60

With `--count`, that many packet programs run on the reference engine and on each variant of the native one; a
difference is printed with its seed and a minimal program. With `--seconds`, random models are compiled and verified
until the time is over; each failure is printed with the family and seed that reproduce it (`--family NAME --seed N`).
Exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from atalla_mlir.errors import AtallaError
from atalla_mlir.host.verify import verify
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.testing import agreement
from atalla_mlir.testing.program_generator import generate
from atalla_mlir.testing.random_models import EDGES, FAMILIES, sample

WIDE = (*EDGES, 128, 257, 300, 1000)
PROGRAMS_PER_TASK = 25
_PROGRESS_TASKS = 200
"""A line on stderr after so many tasks: some minutes of work."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Compare engines on random programs, or verify models.")
    parser.add_argument("--count", type=int, help="run this many packet programs on both engines")
    parser.add_argument("--workers", type=int, default=1, help="processes that run packet programs (default 1)")
    parser.add_argument("--seconds", type=float, default=60, help="how long to verify random models (default 60)")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="only models of this family")
    parser.add_argument("--seed", type=int, help="first packet program (default 0), or the only model")
    parser.add_argument("--first", type=int, default=0, help="first seed of models (default 0)")
    options = parser.parse_args(argv)
    if options.count is not None:
        return _compare_engines(options.count, options.seed or 0, options.workers)
    families = [options.family] if options.family else list(FAMILIES)
    seeds: Iterator[int] = iter([options.seed]) if options.seed is not None else itertools.count(options.first)
    return _verify_models(((family, seed) for seed in seeds for family in families), options.seconds)


# Packet programs


def _compare_engines(count: int, seed: int, workers: int) -> int:
    starts = range(seed, seed + count, PROGRAMS_PER_TASK)
    tasks = [range(start, min(start + PROGRAMS_PER_TASK, seed + count)) for start in starts]
    found = 0
    with ProcessPoolExecutor(workers) as pool:
        for done, differences in enumerate(pool.map(differences_of, tasks), 1):
            for difference in differences:
                found += 1
                print(difference, flush=True)
            if done % _PROGRESS_TASKS == 0:
                sys.stderr.write(f"{min(done * PROGRAMS_PER_TASK, count)} of {count} programs, {found} differences\n")
    engines = f"the reference engine and the native one ({', '.join(agreement.VARIANTS)})"
    print(f"{count} packet programs from seed {seed} on {engines}: {found} differences")
    return 1 if found else 0


def differences_of(seeds: Sequence[int]) -> list[str]:
    """What the reference engine and the variants of the native one disagree about on the programs of these seeds."""
    differences = (agreement.compare(generate(seed), ReferenceEngine, agreement.natives()) for seed in seeds)
    return [str(difference) for difference in differences if difference is not None]


# Models


def _verify_models(samples: Iterator[tuple[str, int]], seconds: float) -> int:
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
