"""Object code as bytes: what is kept of a function that need not be compiled again.

A length (4 bytes little-endian), that many bytes of JSON (relocations, labels, sources as runs of packets), the code.
"""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import ObjectCode, Relocation
from atalla_mlir.target.encoding import PACKET_BYTES

_LENGTH = struct.Struct("<I")


def object_to_bytes(code: ObjectCode) -> bytes:
    """Everything but the name of the function."""
    texts = list(dict.fromkeys(source for source in code.sources if source is not None))
    numbers = {None: -1, **{text: number for number, text in enumerate(texts)}}
    header = {
        "relocations": [[item.packet, item.slot, item.target] for item in code.relocations],
        "labels": dict(code.labels),
        "sources": texts,
        "runs": [[numbers[source], len(list(run))] for source, run in itertools.groupby(code.sources)],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text + code.code


def object_from_bytes(name: str, data: bytes) -> ObjectCode:
    """The inverse, for function `name`; BadInputError when the bytes are not object code."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        code = data[_LENGTH.size + length :]
        if not code or len(code) % PACKET_BYTES:
            raise ValueError(f"{len(code)} bytes are not a whole number of packets")
        return ObjectCode(
            name,
            code,
            tuple(Relocation(packet, slot, target) for packet, slot, target in header["relocations"]),
            header["labels"],
            _sources(header),
        )
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise BadInputError(f"the object code of function '{name}' is damaged: {error}") from error


def _sources(header: dict[str, Any]) -> tuple[str | None, ...]:
    texts: list[str] = header["sources"]
    listed: list[tuple[int, int]] = header["runs"]
    runs = (itertools.repeat(texts[at] if at >= 0 else None, count) for at, count in listed)
    return tuple(itertools.chain.from_iterable(runs))
