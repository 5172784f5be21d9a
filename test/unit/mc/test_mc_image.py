"""Image files of the existing emulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from atalla_mlir.mc.image import Image, ImageError, read_image, write_image

PROGRAMS = sorted((Path(__file__).parents[2] / "conformance" / "legacy-fs").glob("*/prog.in"))


def memory(image: Image) -> dict[int, int]:
    return {address + at: byte for address, content in image.data for at, byte in enumerate(content) if byte}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.parent.name)
def test_images_survive_writing(path: Path) -> None:
    image = read_image(path.read_text())
    again = read_image(write_image(image))
    assert again.code == image.code
    assert memory(again) == memory(image)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 21


def test_the_form_of_a_file() -> None:
    image = read_image("00000000: 001E000096 0000000031 0000000031 0000000031 # addi\n\n.data\n\n0000003C: 00001000\n")
    assert image.code[:5] == bytes.fromhex("9600001E00")
    assert image.data == ((0x3C, b"\x00\x10\x00\x00"),)
    assert write_image(Image(b"", ((0x1000, b"\x80\x3f\x80\x3f"),))).splitlines() == [
        "",
        ".data",
        "",
        "00001000: 3F803F80",
        "00001002: 00003F80",
    ]


MESSAGES = {
    "0 0 0 0": "<string>:1: error: expected 'address: value', got '0 0 0 0'",
    "0000000C: 0": "<string>:1: error: packet address 0xC is not a multiple of 20",
    "00000018: 0": "<string>:1: error: packet address 0x18 is not a multiple of 20; addresses in steps of 24 belong to "
    "the 48-bit instruction set",
    "0: 000000000000 000000000000 000000000000 000000000000": "<string>:1: error: groups of 12 digits belong to the "
    "48-bit instruction set, 10 are expected",
    "FFFFFFDC: 0": "<string>:1: error: packet address 0xFFFFFFDC is not below 0x4000000",
    "0: xyz": "<string>:1: error: expected a hexadecimal packet, got 'xyz'",
    ".data\n0: 123456789": "<string>:2: error: data word 123456789 has more than 32 bits",
}


@pytest.mark.parametrize(("text", "message"), MESSAGES.items())
def test_messages(text: str, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(text)
    assert str(caught.value) == message
