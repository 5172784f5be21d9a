"""Observers of the native engine: its spans (`atalla_span`), batch by batch, as calls of an `Observer`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.mc.decode import decode
from atalla_mlir.sim.engine import StallCause
from atalla_mlir.sim.native_library import library
from atalla_mlir.sim.observer import Observer, transfer_details, unit_track
from atalla_mlir.target.encoding import unpack_packets
from atalla_mlir.target.isa import BY_OPCODE, NOP, Unit

__all__ = ["SpanReceiver"]

_PACKET, _STALL, _UNIT, _PAD_READ, _PAD_WRITE, _DMA_LOAD, _DMA_STORE = range(7)
_CAUSES, _UNITS = tuple(StallCause), tuple(Unit)
_NO_END = (1 << 64) - 1


class _Span(ctypes.Structure):
    _fields_ = (
        ("start", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("kind", ctypes.c_int32),
        ("track", ctypes.c_int32),
        ("pc", ctypes.c_uint32),
        ("opcode", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
        ("row", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("columns", ctypes.c_uint32),
    )


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Span), ctypes.c_size_t)


class SpanReceiver:
    """Stands between an engine of the library and an observer.

    What the observer raises is kept until `check`, because no exception can pass through the library.
    """

    def __init__(self, handle: int, read_code: Callable[[int], bytes], observer: Observer) -> None:
        self._observe = _bound_observe()
        self._handle = handle
        self._read_code = read_code
        self._observer = observer
        self._mnemonics: dict[int, tuple[str, ...]] = {}
        self._error: BaseException | None = None
        self._callback = _CALLBACK(self._receive)

    def start(self) -> None:
        """Ask for the spans that the observer wants of what runs now."""
        start, end = self._observer.window()
        self._mnemonics.clear()
        self._observe(self._handle, start, _NO_END if end is None else max(end, 0), self._callback, None)

    def stop(self) -> None:
        self._observe(self._handle, 0, 0, _CALLBACK(), None)

    def forget_code(self) -> None:
        """The program was changed."""
        self._mnemonics.clear()

    def check(self) -> None:
        """Raise what the observer raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _receive(self, user: int | None, spans: Any, count: int) -> None:
        if self._error is not None:
            return
        try:
            for index in range(count):
                self._tell(spans[index])
        except BaseException as error:
            self._error = error

    def _tell(self, span: _Span) -> None:
        observer, kind, pc, start, end = self._observer, span.kind, span.pc, span.start, span.end
        if kind == _PACKET:
            observer.packet(pc, start, self._mnemonics_at(pc))
        elif kind == _STALL:
            observer.stall(_CAUSES[span.track], pc, start, end)
        elif kind == _UNIT:
            observer.busy(unit_track(_UNITS[span.track]), BY_OPCODE[span.opcode].mnemonic, pc, start, end)
        elif kind == _PAD_READ:
            observer.busy(f"pad {span.track} read", "vreg.ld", pc, start, end)
        elif kind == _PAD_WRITE:
            observer.busy(f"pad {span.track} write", "vreg.st", pc, start, end)
        else:
            details = transfer_details(
                is_load=kind == _DMA_LOAD, address=span.address, row=span.row, rows=span.rows, columns=span.columns
            )
            observer.transfer(span.track, pc, start, end, details)

    def _mnemonics_at(self, pc: int) -> tuple[str, ...]:
        known = self._mnemonics.get(pc)
        if known is None:
            decoded = (decode(word) for word in next(iter(unpack_packets(self._read_code(pc)))))
            known = tuple(inst.op.mnemonic for inst in decoded if inst is not None and inst.op is not NOP)
            self._mnemonics[pc] = known
        return known


def _bound_observe() -> Any:
    """The function of the library; an older library has none, and works but for this."""
    try:
        function = library().atalla_engine_observe
    except AttributeError as error:
        raise ConfigurationError(
            "the installed native engine is too old to be observed; install the package again"
        ) from error
    function.restype = None
    function.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, _CALLBACK, ctypes.c_void_p)
    return function
