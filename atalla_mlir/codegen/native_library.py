"""The shared library of the native core: finding it, and its C interface (`native/atalla_codegen.h`).

Without the library everything runs in Python, with the same results. The environment variable ATALLA_CODEGEN_LIBRARY
names a library to use instead of the installed one; set to nothing, none is used.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import warnings
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, ClassVar

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.target.registers import RegisterFile

ABI = 10

_VARIABLE = "ATALLA_CODEGEN_LIBRARY"
_NAMES = {"darwin": "libatalla_codegen.dylib", "win32": "atalla_codegen.dll"}
_FILES = len(RegisterFile)


def numbers(values: Iterable[int]) -> array[int]:
    """Numbers of 32 bits as the library takes them."""
    return array("i", values)


def place_of(values: array[Any] | None) -> int | None:
    """Where the numbers lie; None for none."""
    return None if values is None else values.buffer_info()[0]


def starts_and_items(lists: Sequence[Collection[int]]) -> tuple[array[int], array[int]]:
    """A list of lists as two: item `starts[i]` is the first of list i."""
    return array("i", accumulate(map(len, lists), initial=0)), array("i", list(chain.from_iterable(lists)))


class Structure(ctypes.Structure):
    """A structure of the interface: plain numbers, and pointers to lists of numbers."""

    _wide_: ClassVar[Mapping[str, str]] = {}
    """The type codes of lists of numbers that do not have 32 bits."""

    def point(self, **lists: Iterable[float]) -> None:
        """Lets fields point to lists, which live as long as the structure."""
        kept: list[array[Any]] = getattr(self, "_kept", [])
        for name, values in lists.items():
            found = values if isinstance(values, array) else array(self._wide_.get(name, "i"), list(values))
            kept.append(found)
            setattr(self, name, place_of(found))
        self._kept = kept


def _pointers(*names: str) -> Sequence[tuple[str, Any]]:
    return [(name, ctypes.c_void_p) for name in names]


class Blocks(Structure):
    """`atalla_blocks`."""

    _wide_: ClassVar[Mapping[str, str]] = {"counts": "q"}
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("num_registers", "num_spaces", "num_objects", "num_units", "num_books")),
        *((name, ctypes.c_int32) for name in ("num_groups", "vector_file", "array_drain_cycles")),
        *((name, ctypes.c_int32) for name in ("reductions_in_flight", "slots", "candidates")),
        ("bank_offsets", ctypes.c_int32 * _FILES),
        ("empty_packet", ctypes.c_int64),
        ("over", ctypes.c_int64),
        *_pointers("roles", "latencies", "unit_cycles", "row_cycles", "units", "groups", "counts"),
        *_pointers("books", "busy", "early", "queues", "flights", "files", "is_hard_wired", "fixed_banks"),
        *_pointers("kinds", "read_starts", "reads", "def_starts", "defs", "merges", "access_sets"),
        *_pointers("access_starts", "access_objects", "access_lows", "access_highs", "access_writes", "access_waits"),
        *_pointers("object_spaces", "is_any_object", "block_starts", "live_in_starts", "live_in"),
        *_pointers("live_out_starts", "live_out", "is_in_loop", "repeats"),
    )


class Edges(Structure):
    """`atalla_edges`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("num_nodes", "size")),
        *_pointers("firsts", "seconds", "latencies", "distances"),
    )


class Loop(Structure):
    """`atalla_loop`."""

    _wide_: ClassVar[Mapping[str, str]] = {"bits": "Q", "counts": "q", "fixed_with": "Q"}
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("num_insts", "num_nodes", "num_names", "num_values")),
        *((name, ctypes.c_int32) for name in ("num_vector_banks", "num_runs", "is_ahead", "longest_latency")),
        *((name, ctypes.c_int32) for name in ("pad_row_interval", "sdma_startup_cycles", "reductions_in_flight")),
        *((name, ctypes.c_int32) for name in ("max_queued_cycles", "attempts_per_node", "patience", "sink_sweeps")),
        *((name, ctypes.c_int32) for name in ("company_distance", "array_turn_cycles", "max_open_masks")),
        *((name, ctypes.c_uint64) for name in ("branch_bits", "first_vector_bank")),
        *((name, ctypes.c_int64) for name in ("branch_counts", "empty_packet", "over")),
        *((name, ctypes.c_double) for name in ("crowded", "max_channel_wait", "channel_slack")),
        *_pointers("before_starts", "before_nodes", "before_latencies", "before_distances", "before_results"),
        *_pointers("after_starts", "after_nodes", "after_latencies", "after_distances", "after_results"),
        *_pointers("names", "lengths", "flights", "is_vlsu", "is_reduction", "is_transfer"),
        *_pointers("drained_names", "drained_rows", "bits", "counts", "open_starts", "open_reads"),
        *_pointers("may_sink", "is_scalar", "shorten_starts", "shorten_nodes", "shorten_distances"),
        *_pointers("phases", "with_starts", "read_with", "fixed_with", "kinds", "is_feeder", "needed"),
        *_pointers("num_readers", "is_load", "makes_mask", "run_numbers", "run_starts", "run_makers"),
        *_pointers("transfer_lengths", "is_waited", "early_feeders", "late_feeders"),
        *((name, ctypes.c_int32) for name in ("num_early_feeders", "num_late_feeders")),
    )


class OrderedWay(Structure):
    """`atalla_ordered_way`."""

    _fields_ = (*_pointers("order", "is_late", "may_sink"),)


class RepairWay(Structure):
    """`atalla_repair_way`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("attempts_per_node", "margin", "is_late")),
        *_pointers("order", "lows", "highs"),
    )


class ForwardWay(Structure):
    """`atalla_forward_way`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("is_eager", "num_pads", "num_parts")),
        ("share", ctypes.c_double),
        *_pointers("transfer_starts", "transfers", "part_starts", "parts"),
    )


class Body(Structure):
    """`atalla_body`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("size", "num_registers", "num_units", "num_banks", "vector_file")),
        *((name, ctypes.c_int32) for name in ("array_drain_cycles", "passes", "counted_passes")),
        *_pointers("files", "roles", "units", "intervals", "distances", "ranks"),
        *_pointers("use_starts", "uses", "def_starts", "defs", "read_starts", "reads"),
    )


class Code(Structure):
    """`atalla_code`."""

    _wide_: ClassVar[Mapping[str, str]] = {"weights": "q", "late_weights": "q", "kept_weights": "q"}
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("num_registers", "num_blocks", "sweeps", "far_fewer")),
        *((name, ctypes.c_int32) for name in ("num_late", "num_kept")),
        *((name, ctypes.c_int32 * _FILES) for name in ("num_banks", "num_physical")),
        *_pointers("files", "indices", "pinned", "is_hard_wired", "is_all_ones"),
        *_pointers("block_starts", "packet_starts", "read_starts", "reads", "def_starts", "defs"),
        *_pointers("merges", "passes_pinned", "weights", "successor_starts", "successors"),
        *_pointers("late_writes", "late_rivals", "late_weights", "kept", "kept_banks", "kept_weights"),
    )


class WantedColours(Structure):
    """`atalla_colouring`."""

    _wide_: ClassVar[Mapping[str, str]] = {"costs": "d"}
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("has_known", "num_known", "num_clobbers", "displacements")),
        *_pointers("known", "known_banks", "available_starts", "available"),
        *_pointers("clobber_files", "clobber_numbers", "clobber_positions", "costs"),
    )


class Copies(Structure):
    """`atalla_copies`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("size", "num_clobbers", "apart")),
        *_pointers("destinations", "sources", "is_constant"),
        *_pointers("clobber_files", "clobber_numbers", "clobber_positions"),
    )


_P = ctypes.c_void_p
_N = ctypes.c_int32
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "atalla_codegen_abi": (_N, ()),
    "atalla_schedule_block": (_N, (ctypes.POINTER(Blocks), _N, _P, _N, _P, _P, _P, _P, _P, _P)),
    "atalla_block_heights": (None, (ctypes.POINTER(Blocks), _N, _P)),
    "atalla_carried_waits": (None, (ctypes.POINTER(Blocks), _N, _P, _P)),
    "atalla_recurrence": (_N, (ctypes.POINTER(Edges),)),
    "atalla_pass_waits": (_N, (ctypes.POINTER(Body), _P, _N, _P, _P, _P)),
    "atalla_prefer_banks": (_N, (ctypes.POINTER(Code), _P, _P)),
    "atalla_merge_copies": (None, (ctypes.POINTER(Code), ctypes.POINTER(Copies), _P)),
    "atalla_colour": (_N, (ctypes.POINTER(Code), ctypes.POINTER(WantedColours), _P, _P, _P)),
    "atalla_place_in_order": (_N, (ctypes.POINTER(Loop), ctypes.POINTER(OrderedWay), _N, _P, _P)),
    "atalla_place_by_repair": (_N, (ctypes.POINTER(Loop), ctypes.POINTER(RepairWay), _N, _P, _P)),
    "atalla_place_forwards": (_N, (ctypes.POINTER(Loop), ctypes.POINTER(ForwardWay), _N, _P, _P)),
}


def _candidates() -> Iterator[Path]:
    """Where an install may have put the library; an editable install keeps it beside the package's other half."""
    name = _NAMES.get(sys.platform, "libatalla_codegen.so")
    yield Path(str(files("atalla_mlir") / "_lib" / name))
    yield from (Path(place) / "_lib" / name for place in sys.modules["atalla_mlir"].__path__)


def library() -> ctypes.CDLL | None:
    """The library to use, or None: then Python does it.

    One that was named must be there and ours; an installed one that does not fit these sources counts as absent.
    """
    chosen = os.environ.get(_VARIABLE)
    return _installed() if chosen is None else _load(chosen) if chosen else None


@cache
def _installed() -> ctypes.CDLL | None:
    path = next((path for path in _candidates() if path.is_file()), None)
    if path is None:
        return None
    try:
        return _load(str(path))
    except ConfigurationError as error:
        warnings.warn(f"{error}; compiling takes longer without it", stacklevel=2)
        return None


def _digest_of_sources() -> str | None:
    """The digest of the library's sources, as CMake computes it; None where only the library is installed."""
    folder = Path(__file__).parent / "native"
    sources = sorted((*folder.glob("*.cpp"), *folder.glob("*.h")))
    if not sources:
        return None
    digests = (hashlib.sha256(source.read_bytes()).hexdigest() for source in sources)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@cache
def _load(path: str) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(path)
        loaded.atalla_codegen_abi.restype = _N
        found = loaded.atalla_codegen_abi()
        if found != ABI:
            raise ConfigurationError(
                f"the native core {path} has interface version {found}, expected {ABI}; install the package again"
            )
        loaded.atalla_codegen_sources.restype = ctypes.c_char_p
        sources = _digest_of_sources()
        if sources is not None and loaded.atalla_codegen_sources().decode() != sources:
            raise ConfigurationError(
                f"the native core {path} was built from other sources than those beside it; install the package again"
            )
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ConfigurationError(f"the native core {path} does not load: {error}") from error
    return loaded
