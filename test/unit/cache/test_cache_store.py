from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atalla_mlir.cache import store as module
from atalla_mlir.cache.store import Store, default_directory, default_limit, default_store
from atalla_mlir.errors import ConfigurationError

LIMIT = 1 << 20


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_what_is_put_is_found_again(tmp_path: Path) -> None:
    Store(tmp_path, LIMIT).put(key(1), b"one")
    store = Store(tmp_path, LIMIT)
    assert store.get(key(1)) == b"one"
    assert store.get(key(2)) is None
    assert (store.hits, store.misses) == (1, 1)
    store.put(key(1), b"another")
    assert store.get(key(1)) == b"another"
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "foreign"])
def test_damaged_entries_count_as_absent_and_are_replaced(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path, LIMIT)
    store.put(key(1), b"a value")
    (path,) = files(tmp_path)
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes({"empty": b"", "truncated": data[:-1], "flipped": flipped, "foreign": b"PK" + data}[damage])
    assert store.get(key(1)) is None
    assert not path.exists()
    store.put(key(1), b"a value")
    assert store.get(key(1)) == b"a value"


def test_the_entries_not_used_for_longest_go_first(tmp_path: Path) -> None:
    store = Store(tmp_path, 10_000)
    for number in range(10):
        store.put(key(number), bytes(1500))
        (path,) = [path for path in files(tmp_path) if path.parent.name + path.stem == key(number)]
        os.utime(path, (number, number))
    assert store.get(key(0)) is not None
    store.trim()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 9_000
    kept = [number for number in range(10) if store.get(key(number)) is not None]
    assert 0 in kept and 9 in kept and 1 not in kept


def test_trim_looks_only_after_a_put(tmp_path: Path) -> None:
    Store(tmp_path, LIMIT).put(key(1), bytes(100))
    store = Store(tmp_path, 1)
    store.trim()
    assert len(files(tmp_path)) == 1
    store.put(key(2), bytes(100))
    store.trim()
    assert not files(tmp_path)


def test_a_broken_off_write_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", fail)
    store = Store(tmp_path, LIMIT)
    with pytest.warns(UserWarning, match=f"^compiled kernels are not kept: {re.escape(str(tmp_path))}: no space left"):
        store.put(key(1), b"one")
    assert not files(tmp_path)
    store.put(key(1), b"one")  # warned once
    assert store.get(key(1)) is None


def test_a_directory_that_cannot_be_used_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file", LIMIT)
    with pytest.warns(UserWarning, match="not a directory"):
        store.put(key(1), b"one")
    assert store.get(key(1)) is None
    store.trim()


WRITER = """
import sys
from pathlib import Path
from atalla_mlir.cache.store import Store
store = Store(Path(sys.argv[1]), 200_000)
wrong = 0
for turn in range(60):
    for number in range(8):
        key = f"{number:064x}"
        value = store.get(key)
        wrong += value is not None and value != bytes([number]) * 4000
        store.put(key, bytes([number]) * 4000)
    store.trim()
print(wrong, store.hits)
"""


def test_processes_share_a_directory(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for run in runs:
        output, _ = run.communicate(timeout=60)
        assert run.returncode == 0
        wrong, hits = output.split()
        assert int(wrong) == 0
        assert int(hits) > 0
    assert len(files(tmp_path)) == 8


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALLA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("ATALLA_CACHE_LIMIT_MIB", "3")
    store = default_store()
    assert store is not None
    assert (store.directory, store.limit_bytes) == (tmp_path, 3 << 20)
    monkeypatch.setenv("ATALLA_CACHE_DIR", "")
    assert default_store() is None
    monkeypatch.delenv("ATALLA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "atalla-mlir"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_directory() == Path.home() / ".cache" / "atalla-mlir"


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1G"])
def test_a_wrong_limit_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ATALLA_CACHE_LIMIT_MIB", text)
    message = f"ATALLA_CACHE_LIMIT_MIB is '{text}', expected a number of MiB, 1 or more"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        default_limit()
