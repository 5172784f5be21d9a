"""A module of packets and the values of its parameters become a loadable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atalla_mlir._mlir import ir, operations, string_value
from atalla_mlir.dialects.module_attributes import CODE, LOOPS
from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.link import LinkedImage, ObjectCode, link
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.loadable.machine_record import describe_machine
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.machine import machine as find_machine
from atalla_mlir.translate.attributes import EntryRow, LaunchRow, ModuleFacts, Tensor, read_attributes, to_json
from atalla_mlir.translate.constants import Array, constant_bytes, constant_segments
from atalla_mlir.translate.functions import object_code
from atalla_mlir.version import VERSION


def to_loadable(
    module: ir.Module | ir.Operation, parameters: Mapping[str, Array | bytes] | None, machine: Machine | None = None
) -> Loadable:
    """Link the functions of `module` and put constants in place.

    The module's attributes (`translate.attributes`) describe entries, constants and launches. Parameters are arrays in
    the model's own types and layouts, or bytes as they are to lie in DRAM. With None for them the constants are zero: a
    program to look at.
    """
    operation = module.operation
    facts = read_attributes(operation)
    target = machine or find_machine(facts.machine)
    blocks = object_code(operation)
    image = link(blocks, target)
    constants = facts.constants if parameters is not None else ()
    parts = [(constant.address, constant_bytes(constant, parameters or {})) for constant in constants]
    segments = [
        Segment(SegmentKind.CODE, 0, memoryview(image.code)),
        Segment(SegmentKind.DATA, 0, memoryview(image.system_data)),
        *constant_segments(parts),
    ]
    entries = tuple(_entry(row, image) for row in facts.entries)
    dram_size = max(
        facts.dram_bytes,
        *(segment.end for segment in segments if segment.kind is SegmentKind.DATA),
        *(spec.end for entry in entries for spec in (*entry.inputs, *entry.outputs)),
    )
    return Loadable(
        machine_name=target.name,
        machine_digest=target.digest(),
        entries=entries,
        segments=(*segments, *_rest_of_memory(segments, dram_size)),
        meta={**_metadata(facts, blocks, image, target, parts), **_certificates(facts, operation)},
        dram_size=dram_size,
    )


def _entry(row: EntryRow, image: LinkedImage) -> Entry:
    if row.function not in image.functions:
        raise BadInputError(f"entry '{row.name}' is function '{row.function}', which the module does not define")
    return Entry(row.name, image.pc(row.function), _specs(row.inputs), _specs(row.outputs))


def _specs(tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    for tensor in tensors:
        if tensor.address < abi.TENSORS_ADDRESS:
            raise BadInputError(
                f"tensor '{tensor.name}' is at address {tensor.address:#x}; tensors start at {abi.TENSORS_ADDRESS:#x}"
            )
    return tuple(
        TensorSpec(tensor.name, tensor.dtype, tensor.shape, tensor.strides, tensor.address, tensor.model_dtype)
        for tensor in tensors
    )


def _rest_of_memory(segments: Sequence[Segment], dram_size: int) -> Iterator[Segment]:
    """What lies behind the constants, as zeros: inputs, outputs and the values between kernels."""
    end = max(segment.end for segment in segments if segment.kind is SegmentKind.DATA)
    if dram_size > end:
        yield Segment(SegmentKind.DATA, end, size=dram_size - end)


def _metadata(
    facts: ModuleFacts,
    blocks: Sequence[ObjectCode],
    image: LinkedImage,
    machine: Machine,
    parts: Sequence[tuple[int, memoryview]],
) -> dict[str, Any]:
    sources = sorted({source for _, _, source in image.sources})
    numbers = {source: number for number, source in enumerate(sources)}
    sizes = {address: len(data) for address, data in parts}
    return {
        **facts.meta,
        "constants": [
            {"name": constant.name, "address": constant.address, "bytes": sizes[constant.address]}
            for constant in facts.constants
            if constant.address in sizes
        ],
        "functions": {name: list(span) for name, span in image.functions.items()},
        "kernels": _kernels(facts, blocks, image),
        "machine": describe_machine(machine),
        "producer": f"atalla-mlir {VERSION}",
        "source_map": {
            "sources": sources,
            "ranges": [[start, end, numbers[source]] for start, end, source in image.sources],
        },
    }


def _certificates(facts: ModuleFacts, module: ir.Operation) -> dict[str, Any]:
    """`meta.bounds` of the entries and `meta.code` of the functions, as far as the module has them."""
    bounds = {row.name: row.bounds for row in facts.entries if row.bounds is not None}
    parts = {"bounds": bounds, "code": _code(module)}
    return {key: value for key, value in parts.items() if value}


def _code(module: ir.Operation) -> dict[str, Any]:
    """What scheduling and register allocation said about each function, its loops included."""
    found: dict[str, Any] = {}
    for function in operations(module, "ax01.func"):
        if CODE in function.attributes:
            name = string_value(function.attributes["sym_name"])
            loops = to_json(function.attributes[LOOPS], LOOPS) if LOOPS in function.attributes else []
            found[name] = {**to_json(function.attributes[CODE], CODE), "loops": loops}
    return found


def _calls(block: ObjectCode, image: LinkedImage) -> list[tuple[str, int]]:
    """(callee, PC) of the calls of kernels in a function, in order."""
    start = image.pc(block.name)
    return [
        (item.target, start + item.packet * PACKET_BYTES)
        for item in sorted(block.relocations, key=lambda item: (item.packet, item.slot))
        if item.target not in block.labels and block.instruction(item.packet, item.slot).op.mnemonic == "jal"
    ]


def _kernels(facts: ModuleFacts, blocks: Sequence[ObjectCode], image: LinkedImage) -> list[dict[str, Any]]:
    """`meta.kernels`: each launch with the PC of its call, which is found by counting the calls of the entry."""
    by_name = {block.name: block for block in blocks}
    functions = {row.name: row.function for row in facts.entries}
    launched = {row.function for row in facts.launches}
    calls: dict[str, Iterator[tuple[str, int]]] = {}
    constants = {constant.address: constant for constant in facts.constants}
    counts: defaultdict[str, int] = defaultdict(int)
    rows: list[dict[str, Any]] = []
    for launch in facts.launches:
        function = functions.get(launch.entry, launch.entry)
        if function not in by_name:
            raise BadInputError(f"a launch belongs to entry '{launch.entry}', which the module does not have")
        if launch.entry not in calls:
            calls[launch.entry] = iter([call for call in _calls(by_name[function], image) if call[0] in launched])
        callee, pc = next(calls[launch.entry], ("nothing", 0))
        if callee != launch.function:
            raise BadInputError(
                f"entry '{launch.entry}' calls {callee} where a launch of {launch.function} is described"
            )
        name = launch.nodes[-1] if launch.nodes else launch.function
        counts[name] += 1
        unique = name if counts[name] == 1 else f"{name}.{counts[name] - 1}"
        rows.append(_kernel_row(launch, unique, pc, constants))
    return rows


def _kernel_row(launch: LaunchRow, name: str, pc: int, constants: Mapping[int, Tensor]) -> dict[str, Any]:
    return {
        **launch.others,
        "name": name,
        "entry": launch.entry,
        "function": launch.function,
        "launch_pc": pc,
        "return_pc": pc + PACKET_BYTES,
        "nodes": list(launch.nodes),
        "inputs": [_value_row(_unpacked(tensor, constants)) for tensor in launch.inputs],
        "outputs": [_value_row(tensor) for tensor in launch.outputs],
    }


def _unpacked(tensor: Tensor, constants: Mapping[int, Tensor]) -> Tensor:
    """A parameter that is stored transposed, seen with its own axes."""
    constant = constants.get(tensor.address)
    if constant is None or not constant.permutation or tensor.shape != constant.shape:
        return tensor
    places = sorted(range(len(constant.permutation)), key=lambda at: constant.permutation[at])
    shape = tuple(tensor.shape[at] for at in places)
    strides = tuple(tensor.strides[at] for at in places)
    return Tensor(tensor.name, tensor.address, tensor.dtype, shape, strides, tensor.model_dtype, (), None)


def _value_row(tensor: Tensor) -> dict[str, Any]:
    image = {} if tensor.image is None else {"image": tensor.image}
    return {
        **image,
        "value": tensor.name,
        "address": tensor.address,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "strides": list(tensor.strides),
    }
