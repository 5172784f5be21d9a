"""What of an attention need not be computed where a mask hides keys from queries and that is known when compiling.

Scores that become -inf give nothing to the maximum, the sum and the result of their row, whatever they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from atalla_mlir.codegen.attention_pattern import find_attention
from atalla_mlir.codegen.iteration import Access, Buffer, Stage
from atalla_mlir.codegen.visible_keys import visible_keys


@dataclass(frozen=True)
class VisibleShare:
    """Which part of a stage counts, 0 to 1: of its results or terms, of additions, of the slices of 32 terms."""

    elements: Fraction
    folds: Fraction
    slices: Fraction


ALL = VisibleShare(Fraction(1), Fraction(1), Fraction(1))


@dataclass(frozen=True)
class HiddenWork:
    """Shares of the stages of attentions with such masks, and of what they read that is needed at all.

    `masks` are the accesses to the masks themselves, which none needs to make.
    """

    shares: Mapping[Stage, VisibleShare]
    reads: Mapping[Stage, Fraction]
    masks: Collection[int]

    def share(self, stage: Stage) -> VisibleShare:
        return self.shares.get(stage, ALL)

    def read_share(self, stage: Stage, access: Access) -> Fraction:
        return Fraction(0) if id(access) in self.masks else self.reads.get(stage, Fraction(1))


def hidden_work(stages: Sequence[Stage], results: Collection[Buffer], lanes: int) -> HiddenWork:
    """For all attentions among `stages`, of which `results` are stored; a slice has as many terms as `lanes`."""
    shares: dict[Stage, VisibleShare] = {}
    reads: dict[Stage, Fraction] = {}
    masks: set[int] = set()
    if not any(read.buffer.triangle for stage in stages for read in stage.reads):
        return HiddenWork(shares, reads, masks)
    for found in find_attention(stages, results):
        known = visible_keys(found.maps[-1]) if found.maps else None
        if known is None:
            continue
        counts, keys = known.counts, known.keys.extent
        rows = len(counts)

        def share(least: int, whole: int) -> Fraction:
            return Fraction(least, whole) if whole else Fraction(1)

        elements = share(sum(counts), rows * keys)
        slices = share(sum(-(-count // lanes) for count in counts), rows * -(-keys // lanes))
        highest = share(sum(max(count - 1, 0) for count in counts), rows * (keys - 1))
        added = share(sum(max(-(-count // lanes) - 1, 0) for count in counts), rows * (-(-keys // lanes) - 1))
        masks.add(id(known.mask))
        for stage in (found.scores, *found.maps, found.shifted, found.exponential, found.normalised):
            shares[stage] = VisibleShare(elements, elements, elements)
        shares[found.maximum] = VisibleShare(elements, highest, elements)
        for stage in (found.total, found.output):
            shares[stage] = VisibleShare(elements, added, min(elements, slices))
        # keys that no query sees, and queries that see none
        seen = min(share(max(counts), keys), share(sum(count > 0 for count in counts), rows))
        for stage in (*found.copies, found.scores, found.output):
            reads[stage] = seen
    return HiddenWork(shares, reads, masks)
