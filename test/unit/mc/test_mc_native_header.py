"""The C++ table: up to date, and its extraction agrees with words written by hand (machine reference, section 3)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from atalla_mlir.mc.native_header import HEADER, header, main
from atalla_mlir.target import isa

CHECKS = """
#include "isa_table.h"
using namespace atalla::isa;
constexpr std::int32_t field(std::uint64_t word, int at) {
  return extract(kInstructions[opcode_of(word)].operands[at], word);
}
constexpr std::uint64_t kBranch = 0xFB0403C2A3, kJump = 0xFFFFEC00AD, kUpper = 0x0D5E6F04B0, kLoad = 0x2F8DA38544;
static_assert(opcode_of(kBranch) == static_cast<int>(Opcode::beq_s));
static_assert(field(kBranch, 0) == 7 && field(kBranch, 1) == 8 && field(kBranch, 2) == -40 && field(kBranch, 3) == 5);
static_assert(field(0xFF01008025, 2) == 2040 && field(0x0100027FA4, 2) == -2040 && field(0x0100027FA4, 3) == 127);
static_assert(field(kJump, 0) == 1 && field(kJump, 1) == -40);
static_assert(field(kUpper, 0) == 9 && field(kUpper, 1) == 0x1ABCDE);
static_assert(field(kLoad, 0) == 10 && field(kLoad, 2) == 27 && field(kLoad, 3) == 31 && field(kLoad, 4) == 2);
static_assert(!kInstructions[0].is_defined && !kInstructions[47].is_defined && !kInstructions[80].is_defined);
static_assert(kInstructions[51].merges && !kInstructions[57].merges && kInstructions[54].unit == Unit::GSAU);
static_assert(kFiles[static_cast<int>(File::MASK)].banks == 2 && kUnitLimits[static_cast<int>(Unit::EX1)] == 1);
"""


def test_header_is_up_to_date() -> None:
    assert HEADER.read_text(encoding="utf-8") == header(), "run `python -m atalla_mlir.mc.native_header`"
    assert main(["--check"]) == 0


def test_every_opcode_has_a_name() -> None:
    text = header()
    for row in isa.INSTRUCTIONS:
        assert f"  {row.op_name} = {row.opcode},\n" in text


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_table_in_cpp(tmp_path: Path) -> None:
    source = tmp_path / "checks.cpp"
    source.write_text(CHECKS, encoding="utf-8")
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
