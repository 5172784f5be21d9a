"""Another page policy for a program that is compiled already: its kernels stay as they are, services are replaced.

A policy is assembly with a label for each service that it replaces, of `spad_alloc`, `spad_free`, `spad_mark`,
`spad_release` and `spad_avail`. It has the names in capitals of `services.s`, every routine of the firmware, and
`original_NAME` for each service NAME that it replaces. docs/firmware.md says what a policy may rely on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.symbols import symbols
from atalla_mlir.loadable.format import Loadable, Segment, SegmentKind
from atalla_mlir.loadable.machine_record import machine_of
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.mc.encode import encode_packet
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.parse import assemble
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC

REPLACEABLE = ("spad_alloc", "spad_free", "spad_mark", "spad_release", "spad_avail")
POLICIES = ("alternate", "guarded")
"""Policies that come with the package."""

_PREFIX = "page_policy"


def policy_text(name: str) -> str:
    """The assembly of a policy that comes with the package."""
    if name not in POLICIES:
        raise BadInputError(f"no page policy '{name}'; there are {', '.join(POLICIES)}")
    return resources.files("atalla_mlir.firmware").joinpath("policies", f"{name}.s").read_text("utf-8")


def with_page_policy(loadable: Loadable, text: str, filename: str = "<policy>") -> Loadable:
    """`loadable` with the services that `text` defines in the place of its own."""
    labels = re.findall(r"^\s*([A-Za-z_]\w*):", text, re.MULTILINE)
    replaced = [name for name in REPLACEABLE if name in labels]
    if not replaced:
        raise BadInputError(f"{filename} defines none of the services {', '.join(REPLACEABLE)}")
    routines = _routines(loadable)
    segment = loadable.code_segment_of(routines[replaced[0]])
    assert segment is not None
    base = max(item.end for item in loadable.code_segments)
    originals = {f"original_{name}": base + 2 * PACKET_BYTES * at for at, name in enumerate(replaced)}
    start = base + 2 * PACKET_BYTES * len(replaced)
    names = {**symbols(machine_of(loadable)), **routines, **originals}
    for name in labels:
        names.pop(name, None)
    assembly = assemble(text, filename, base=start, symbols=names)
    code = bytearray(segment.data)
    trampolines = b"".join(
        _trampoline(code, segment, routines[name], originals[f"original_{name}"]) for name in replaced
    )
    for name in replaced:
        at = routines[name] - segment.address
        code[at : at + PACKET_BYTES] = _jump(routines[name], assembly.labels[name])
    spans = {_PREFIX: [base, start + len(assembly.code)]}
    return _with_code(loadable, segment, bytes(code), base, trampolines + assembly.code, spans)


def _routines(loadable: Loadable) -> dict[str, int]:
    functions: Mapping[str, Sequence[int]] = loadable.meta.get("functions", {})
    if _PREFIX in functions:
        raise BadInputError("the loadable has a page policy of its own already; start from the one without")
    missing = [name for name in REPLACEABLE if name not in functions]
    if missing:
        raise BadInputError(f"the loadable has no firmware: its functions lack {', '.join(missing)}")
    return {name: span[0] for name, span in functions.items() if name.isidentifier()}


def _jump(pc: int, target: int) -> bytes:
    return encode_packet([MachineInstruction(BY_MNEMONIC["jal"], (0, target - pc))])


def _trampoline(code: bytearray, segment: Segment, pc: int, place: int) -> bytes:
    """The service's first packet, which the jump to the policy replaces, and a jump to its second one."""
    at = pc - segment.address
    first = bytes(code[at : at + PACKET_BYTES])
    (packet,) = decode_packets(first)
    if any(instruction is not None and instruction.op.is_control for instruction in packet):
        raise BadInputError(f"the service at pc {pc:#x} starts with a jump: it was replaced before")
    return first + _jump(place + PACKET_BYTES, pc + PACKET_BYTES)


def _with_code(
    loadable: Loadable, segment: Segment, code: bytes, base: int, added: bytes, spans: Mapping[str, list[int]]
) -> Loadable:
    changed = dataclasses.replace(segment, data=memoryview(code))
    segments = [changed if item is segment else item for item in loadable.segments]
    segments.append(Segment(SegmentKind.CODE, base, memoryview(added)))
    meta = {**loadable.meta, "functions": {**loadable.meta["functions"], **spans}}
    return dataclasses.replace(loadable, segments=tuple(segments), meta=meta)
