"""A directory of values by key that several processes may use at once.

Every entry is one file that is written under a temporary name and then renamed, so a reader sees all of it or nothing.
It begins with a checksum of the rest: damaged entries count as absent and are removed. The time of last use is the
file's modification time; `trim` removes the entries that were not used for longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atalla_mlir.errors import ConfigurationError

DIRECTORY_VARIABLE = "ATALLA_CACHE_DIR"
LIMIT_VARIABLE = "ATALLA_CACHE_LIMIT_MIB"
DEFAULT_LIMIT_MIB = 1024

_MAGIC = b"ATALLA-CACHE-1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX = ".entry"
_TRIM_TO = 0.9
"""Part of the limit that `trim` leaves, so that not every compilation has to trim."""


def default_store() -> Store | None:
    """The store that the environment asks for; None when `ATALLA_CACHE_DIR` is there and empty."""
    if os.environ.get(DIRECTORY_VARIABLE) == "":
        return None
    return Store(default_directory(), default_limit())


def default_directory() -> Path:
    """`ATALLA_CACHE_DIR`, or `atalla-mlir` in the user's cache directory."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "atalla-mlir"


def default_limit() -> int:
    """`ATALLA_CACHE_LIMIT_MIB` in bytes; ConfigurationError when it is not a positive integer."""
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_MIB))
    if not text.isdecimal() or not int(text):
        raise ConfigurationError(f"{LIMIT_VARIABLE} is '{text}', expected a number of MiB, 1 or more")
    return int(text) << 20


@dataclass
class Store:
    """Values by key; a key is a string of hexadecimal digits. A directory that cannot be used costs a warning."""

    directory: Path
    limit_bytes: int
    hits: int = 0
    misses: int = 0
    _written: bool = False
    _usable: bool = True

    def get(self, key: str) -> bytes | None:
        """The value of `key`, which counts as used now; None when there is none or it is damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            self.misses += 1
            return None
        value = _checked(data)
        if value is None:
            self.discard(key)
            self.misses += 1
            return None
        with contextlib.suppress(OSError):  # another process may have removed it meanwhile
            os.utime(path)
        self.hits += 1
        return value

    def put(self, key: str, value: bytes) -> None:
        """Store `value`; a value that is there already is replaced."""
        if not self._usable:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, _MAGIC + hashlib.sha256(value).digest() + value)
        except OSError as error:
            self._usable = False
            reason = (error.strerror or str(error)).lower()
            warnings.warn(f"compiled kernels are not kept: {self.directory}: {reason}", stacklevel=2)
            return
        self._written = True

    def discard(self, key: str) -> None:
        """Remove an entry whose value turned out to be of no use."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def trim(self) -> None:
        """Remove the entries not used for longest if all together exceed the limit. Looks only after a `put`."""
        if not self._written:
            return
        self._written = False
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self.limit_bytes:
            return
        for _, size, path in entries:
            if total <= self.limit_bytes * _TRIM_TO:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key[2:]}{_SUFFIX}"

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """(time of last use in ns, size in bytes, path) of all entries and of what broken-off writes left."""
        for folder, _, names in os.walk(self.directory):
            for name in names:
                if not name.endswith((_SUFFIX, _SUFFIX + ".part")):
                    continue
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    yield status.st_mtime_ns, status.st_size, path


def _checked(data: bytes) -> bytes | None:
    start = len(_MAGIC) + _DIGEST_BYTES
    if not data.startswith(_MAGIC) or len(data) < start:
        return None
    value = data[start:]
    return value if hashlib.sha256(value).digest() == data[len(_MAGIC) : start] else None


def _write_whole(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=_SUFFIX + ".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
