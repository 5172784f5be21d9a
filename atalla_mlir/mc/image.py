"""The `.in` image files of the existing emulator (machine reference 7.1): text of packets, then text of data words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.encoding import INSTRUCTION_BITS, PACKET_BYTES, SLOTS, pack_packet, unpack_packets

_DIGITS = INSTRUCTION_BITS // 4
# Packets may lie anywhere below; an address beyond is a slip, and the gap before it would fill the host's memory.
_MAX_CODE_BYTES = 1 << 26
_HEX = re.compile(r"[0-9a-fA-F]+\Z")


class ImageError(BadInputError):
    """A line of an image file that is not as it must be; the message starts with file:line."""


@dataclass(frozen=True)
class Image:
    """Code from PC 0 on and data segments (DRAM address, content), ascending and apart from each other."""

    code: bytes
    data: tuple[tuple[int, bytes], ...] = ()


def read_image(text: str, filename: str = "<string>") -> Image:
    """Read an image. Packets that the file leaves out between others are all-zero, which the machine takes as empty.

    Data lines are applied in ascending order of address as 4-byte little-endian stores: overlapping ones agree.
    """
    packets: dict[int, bytes] = {}
    words: dict[int, int] = {}
    in_data = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        where = f"{filename}:{number}: error:"
        if line.lower().startswith(".data"):
            in_data = True
            continue
        address_text, colon, value_text = line.partition(":")
        if not colon:
            raise ImageError(f"{where} expected 'address: value', got '{line}'")
        address = _hex(address_text.strip(), 32, "address", where)
        if in_data:
            words[address] = _hex(value_text.strip(), 32, "data word", where)
        else:
            packets[_packet_address(address, where)] = _packet(value_text, where)
    return Image(_code(packets), _segments(words))


def _hex(text: str, bits: int, what: str, where: str) -> int:
    if not _HEX.match(text):
        raise ImageError(f"{where} expected a hexadecimal {what}, got '{text}'")
    value = int(text, 16)
    if value >> bits:
        raise ImageError(f"{where} {what} {text} has more than {bits} bits")
    return value


def _packet_address(address: int, where: str) -> int:
    if address % PACKET_BYTES:
        hint = "; addresses in steps of 24 belong to the 48-bit instruction set" if address % 24 == 0 else ""
        raise ImageError(f"{where} packet address 0x{address:X} is not a multiple of {PACKET_BYTES}{hint}")
    if address >= _MAX_CODE_BYTES:
        raise ImageError(f"{where} packet address 0x{address:X} is not below 0x{_MAX_CODE_BYTES:X}")
    return address


def _packet(text: str, where: str) -> bytes:
    groups = text.replace("_", "").split()
    if len(groups) == SLOTS and all(len(group) == 12 for group in groups):
        raise ImageError(f"{where} groups of 12 digits belong to the 48-bit instruction set, {_DIGITS} are expected")
    value = _hex("".join(groups), INSTRUCTION_BITS * SLOTS, "packet", where)
    mask = (1 << INSTRUCTION_BITS) - 1
    return pack_packet([(value >> (INSTRUCTION_BITS * (SLOTS - 1 - slot))) & mask for slot in range(SLOTS)])


def _code(packets: dict[int, bytes]) -> bytes:
    if not packets:
        return b""
    code = bytearray(max(packets) + PACKET_BYTES)
    for address, packet in packets.items():
        code[address : address + PACKET_BYTES] = packet
    return bytes(code)


def _segments(words: dict[int, int]) -> tuple[tuple[int, bytes], ...]:
    """The memory that the stores leave, as runs of adjacent bytes."""
    segments: list[tuple[int, bytearray]] = []
    for address in sorted(words):
        content = words[address].to_bytes(4, "little")
        if segments and address <= segments[-1][0] + len(segments[-1][1]):
            start, run = segments[-1]
            run[address - start : address - start + 4] = content
        else:
            segments.append((address, bytearray(content)))
    return tuple((start, bytes(run)) for start, run in segments)


def write_image(image: Image) -> str:
    """The text of an image: one packet a line, then words at every even address, zeros left out, as the emulator's
    own writer does."""
    lines = [
        f"{at * PACKET_BYTES:08X}: {' '.join(f'{word:0{_DIGITS}X}' for word in words)}"
        for at, words in enumerate(unpack_packets(image.code))
    ]
    lines += ["", ".data", ""]
    lines += [f"{address:08X}: {word:08X}" for address, word in _words(image.data) if word]
    return "\n".join(lines) + "\n"


def _words(data: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, int]]:
    """(address, word) at every even address whose word touches the data; bytes beyond a segment are zero.

    Segments that lie within 4 bytes of each other are joined, so that the words that overlap them agree.
    """
    joined: list[tuple[int, bytearray]] = []
    for address, content in sorted(data):
        start = address & ~1
        padded = bytearray(address - start) + bytearray(content)
        if joined and start < joined[-1][0] + len(joined[-1][1]) + 4:
            base, run = joined[-1]
            run.extend(bytes(max(0, start - base - len(run))))
            run[start - base :] = padded
        else:
            joined.append((start, padded))
    for start, run in joined:
        for at in range(0, len(run), 2):
            yield start + at, int.from_bytes(run[at : at + 4].ljust(4, b"\0"), "little")
