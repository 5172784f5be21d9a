"""Loadables with random damage, most of them sealed again with the right hash so that the checks behind it are met."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from random import Random

from atalla_mlir.loadable import elf
from atalla_mlir.loadable.records import HASH_BYTES, HASH_OFFSET

_WORD = struct.Struct("<I")
_WORDS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
_STEPS = (-20, -4, -1, 1, 4, 20, 64)


def resealed(data: bytes) -> bytes:
    """`data` with the hash that belongs to it, as a forger would leave it; unchanged when there is no place for one."""
    if len(data) < elf.FILE_HEADER.size + elf.PROGRAM_HEADER.size:
        return data
    note_at = elf.ProgramHeader(*elf.PROGRAM_HEADER.unpack_from(data, elf.FILE_HEADER.size)).offset
    hash_at = note_at + HASH_OFFSET
    if hash_at + HASH_BYTES > len(data):
        return data
    blank = data[:hash_at] + bytes(HASH_BYTES) + data[hash_at + HASH_BYTES :]
    return blank[:hash_at] + hashlib.sha256(blank).digest() + blank[hash_at + HASH_BYTES :]


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged forms of a loadable."""
    random = Random(seed)
    for _ in range(count):
        found = bytearray(data)
        for _ in range(random.choice((1, 1, 2, 3))):
            _damage(random, found)
        yield resealed(bytes(found)) if random.random() < 0.8 else bytes(found)


def _damage(random: Random, data: bytearray) -> None:
    """Headers and the note, at the start of the file, are hit more often than the rest."""
    at = random.randrange(random.choice((min(len(data), 400), len(data), len(data))))
    match random.randrange(7):
        case 0:
            data[at] = random.getrandbits(8)
        case 1:
            data[at] ^= 1 << random.randrange(8)
        case 2:
            del data[at : at + random.choice((1, 4, 16, 64))]
        case 3:
            data[at:at] = bytes(random.choice((1, 4, 16)))
        case 4:
            del data[at:]
        case _:
            _damage_word(random, data, at & ~3)
    if not data:
        data.append(elf.MAGIC[0])


def _damage_word(random: Random, data: bytearray, at: int) -> None:
    if at + _WORD.size > len(data):
        return
    if random.random() < 0.5:
        value = random.choice((*_WORDS, random.getrandbits(32), random.randrange(4096)))
    else:
        value = (_WORD.unpack_from(data, at)[0] + random.choice(_STEPS)) & 0xFFFFFFFF
    _WORD.pack_into(data, at, value)
