"""The data of an assembly text: runs of bytes at DRAM addresses, and the directives that make them."""

from __future__ import annotations

from atalla_mlir.mc.operands import OperandReader, Token

UNIT_BYTES = {".word": 4, ".half": 2, ".byte": 1}
DIRECTIVES = (*UNIT_BYTES, ".space")
_ADDRESSES = 1 << 32


class DataSection:
    """Collects data. `address` is where the next byte goes; None while no address has been given."""

    def __init__(self, reader: OperandReader) -> None:
        self._reader = reader
        self._runs: dict[int, bytearray] = {}
        self._start: int | None = None

    @property
    def address(self) -> int | None:
        return None if self._start is None else self._start + len(self._runs[self._start])

    def place(self, token: Token) -> None:
        """Data goes on at the address that `token` says."""
        address = self._reader.number(token)
        if not 0 <= address < _ADDRESSES:
            raise self._reader.error(token, f"data address {address} does not fit in 32 bits")
        before = next((start for start, run in self._runs.items() if start + len(run) == address), None)
        self._start = address if before is None else before
        self._runs.setdefault(self._start, bytearray())

    def leave(self) -> None:
        """Data ends, or goes on at an address still to be given."""
        self._start = None

    def append(self, directive: str, arguments: Token, where: Token) -> None:
        if self._start is None or self.address is None:
            raise self._reader.error(where, f"'{directive}' outside data; '.data ADDRESS' starts data")
        run = self._runs[self._start]
        self._make_room(self.address, self._size(directive, arguments), where)
        if directive == ".space":
            run.extend(bytes(self._reader.number(arguments)))
        else:
            for part in arguments.split(","):
                run.extend(self._unit(directive, part))

    def contents(self) -> dict[int, bytes]:
        return {start: bytes(run) for start, run in self._runs.items() if run}

    def _size(self, directive: str, arguments: Token) -> int:
        if directive != ".space":
            return UNIT_BYTES[directive] * len(arguments.split(","))
        size = self._reader.number(arguments)
        if not 0 <= size <= _ADDRESSES:
            raise self._reader.error(arguments, f".space {size} does not fit in 0..{_ADDRESSES}")
        return size

    def _make_room(self, start: int, size: int, where: Token) -> None:
        end = start + size
        if end > _ADDRESSES:
            raise self._reader.error(where, f"data at {start:#x} of {size} bytes does not fit in 32-bit addresses")
        for other, run in self._runs.items():
            if other != self._start and run and other < end and start < other + len(run):
                raise self._reader.error(
                    where, f"data at {start:#x}..{end - 1:#x} overlaps the data from {other:#x} on"
                )

    def _unit(self, directive: str, token: Token) -> bytes:
        size = UNIT_BYTES[directive]
        number = self._reader.number(token)
        limit = 1 << (8 * size)
        if not -limit // 2 <= number < limit:
            what = f"{directive} {number} does not fit in {-limit // 2}..{limit - 1}"
            raise self._reader.error(token, what)
        return (number % limit).to_bytes(size, "little")
