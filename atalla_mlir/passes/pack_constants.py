"""`atalla-pack-constants`: parameters that products read are stored in the order in which the array reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import AffineForm, indexing_forms, ir, operations, string_value
from atalla_mlir.kernels.views import reassociation
from atalla_mlir.passes.base import Pass
from atalla_mlir.passes.views import PERMUTATION, argument_attributes, inverted, store_argument_permuted, transposition

CONSTANT_KINDS = ("parameter", "constant")


@dataclass(frozen=True)
class PackConstantsPass(Pass):
    """Transpose parameters at compile time so that the depth of each product that reads them is contiguous

    The argument gets the transposed type and the attribute `atalla.permutation`; a transposition back, which later
    passes fold into strides, keeps the meaning of its other readers.
    """

    name: ClassVar[str] = "atalla-pack-constants"
    anchor: ClassVar[str] = "func.func"

    def run(self, op: ir.Operation) -> None:
        if not op.regions[0].blocks:
            return
        wanted: dict[ir.Value, list[int]] = {}
        for generic in operations(op, "linalg.generic"):
            _collect(generic, wanted)
        block = op.regions[0].blocks[0]
        for argument in list(block.arguments):
            permutation = wanted.get(argument)
            if permutation is not None and _kind(op, argument) in CONSTANT_KINDS:
                store_argument_permuted(op, argument, permutation)


def _kind(function: ir.Operation, argument: ir.BlockArgument) -> str:
    attributes = argument_attributes(function, argument)
    if PERMUTATION in attributes or "atalla.kind" not in attributes:
        return ""
    return string_value(attributes["atalla.kind"])


def _collect(generic: ir.Operation, wanted: dict[ir.Value, list[int]]) -> None:
    """Note arguments that a product does not read in their own order, with the order in which it does."""
    kinds = ["reduction" in str(kind) for kind in ir.ArrayAttr(generic.attributes["iterator_types"])]
    if not any(kinds) or len(generic.operands) != 3:
        return
    all_forms = [forms or () for forms in indexing_forms(generic)[:2]]
    for at, forms in enumerate(all_forms):
        source, dims = _through_views(generic.operands[at], forms)
        if not isinstance(source, ir.BlockArgument) or not dims:
            continue
        ranks = [_rank(dim, kinds, all_forms[1 - at]) for dim in dims]
        if not any(rank is _CHANNEL for rank in ranks):
            last = max((place for place, rank in enumerate(ranks) if rank is _REDUCED), default=None)
            if last is None or ranks[-1] is _REDUCED:
                continue
            ranks[last] = _CHANNEL
            ranks = [rank if rank is _CHANNEL else _OUTER for rank in ranks]
        permutation = sorted(range(len(dims)), key=lambda place: ranks[place])
        if permutation != sorted(permutation):
            wanted[source] = permutation


# Places of a constant's dimensions, outermost first: what windows slide along and the channels of a convolution come
# behind everything else, in this order. Of a depthwise convolution the channels lie in the lanes.
_OUTER, _REDUCED, _CHANNEL = range(3)


def _rank(dim: int | None, kinds: Sequence[bool], other: Sequence[AffineForm]) -> int:
    if dim is None:
        return _OUTER
    windows = [form for form in other if len(form.dims) > 1]
    if not windows:
        return _REDUCED if kinds[dim] else _OUTER
    if any(dim in form.dims for form in windows):
        return _REDUCED
    is_shared = any(dim in form.dims for form in other)
    return _CHANNEL if is_shared and (kinds[dim] or not _has_depth(kinds, other)) else _OUTER


def _has_depth(kinds: Sequence[bool], other: Sequence[AffineForm]) -> bool:
    """Whether something is summed beside the windows."""
    return any(kinds[dim] for form in other if len(form.dims) == 1 for dim in form.dims)


def _through_views(value: ir.Value, forms: Sequence[AffineForm]) -> tuple[ir.Value, list[int | None]]:
    """The tensor behind transpositions and changes of rank, and the loop that indexes each of its dims (or None).

    Of a dim that was split, the loop of its outermost part counts.
    """
    dims: list[int | None] = [form.single_dim for form in forms]
    while isinstance(value, ir.OpResult):
        owner = value.owner.operation
        if owner.name == "tensor.expand_shape":
            dims = [dims[group[0]] for group in reassociation(owner)]
        elif owner.name == "tensor.collapse_shape":
            dims = _uncollapsed(owner, dims)
        elif owner.name == "linalg.generic" and len(owner.operands) == 2:
            permutation = transposition(owner)
            if permutation is None:
                break
            dims = [dims[at] for at in inverted(permutation)]
        else:
            break
        value = owner.operands[0]
    return value, dims


def _uncollapsed(owner: ir.Operation, dims: Sequence[int | None]) -> list[int | None]:
    """Loops of the dims before a collapse that only drops dims of one element; the others are not known."""
    shape = ir.RankedTensorType(owner.operands[0].type).shape
    found: list[int | None] = []
    for dim, group in zip(dims, reassociation(owner), strict=True):
        long = [at for at in group if shape[at] > 1]
        found.extend(dim if [at] == long else None for at in group)
    return found
