"""Which stages become one kernel: fusion by matching loops.

A product starts a group and takes only maps over its own outputs (its epilogue); any other stage joins the group of
its latest producer when each read of that group's results matches the write by stride. Joining the latest producer
keeps the groups in an order in which they can run.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from atalla_mlir.codegen.attention_pattern import AttentionStages, find_attention, unify
from atalla_mlir.codegen.attention_planning import plan_attention
from atalla_mlir.codegen.fill_plan import FillPlan
from atalla_mlir.codegen.iteration import (
    Access,
    Buffer,
    Loop,
    Stage,
    StageKind,
    coalesce_loops,
    covers_buffer,
    match_loops,
    outer_loops,
    rename_loops,
)
from atalla_mlir.codegen.placement import LANES
from atalla_mlir.codegen.product_chain import chained_buffer, plan_chain
from atalla_mlir.codegen.stage_memo import Description, recall
from atalla_mlir.codegen.turned_product import plan_turned_product
from atalla_mlir.codegen.window_frame import frame_stages
from atalla_mlir.codegen.window_plan import has_windows, keeps_windows

# Rows of intermediate values that one kernel may keep in pads: a quarter of one pad of the default machine.
MAX_TEMPORARY_ROWS = 2048


@dataclass
class Group:
    """Stages with unified loops, in program order. `refusals` says why stages could not join."""

    stages: list[Stage] = field(default_factory=list)
    is_sealed: bool = False
    loose: list[Stage] = field(default_factory=list)
    """Stages that write other parts of what one of `stages` writes (a frame around it), with loops of their own."""
    refusals: list[str] = field(default_factory=list)
    attention: AttentionStages | None = None
    """The attention that the stages are, which has a kernel of its own."""
    chain: tuple[list[Stage], list[Stage]] | None = None
    """Two products with their maps that the stages are, of which the second one finds its operand in the pads."""
    turned: tuple[Stage, list[Stage]] | None = None
    """A copy that turns a matrix, and the product with its maps that pushes its columns: the copy stays in the pads."""
    frame: list[Stage] = field(default_factory=list)
    """Stages that make the framed image which the first of `stages` looks at and nobody stores."""
    fill: FillPlan | None = None
    """How the stages, which have loops of their own, write one number to places of one buffer."""

    @property
    def all_stages(self) -> list[Stage]:
        return [*self.frame, *self.stages, *self.loose]

    @property
    def is_special(self) -> bool:
        """Whether there is more to it than stages with unified loops."""
        found = (self.attention, self.chain, self.turned, self.fill)
        return any(item is not None for item in found) or bool(self.frame or self.loose)

    @property
    def product(self) -> Stage | None:
        first = self.stages[0]
        return first if first.kind is StageKind.PRODUCT else None

    def writer(self, buffer: Buffer) -> Stage | None:
        return next((stage for stage in self.stages if stage.write.buffer is buffer), None)

    def try_join(self, stage: Stage, stored: Collection[Buffer] = ()) -> bool:
        """Unify the loops of `stage` with the group's and append it; False (with a refusal) when they do not match.

        `stored` are buffers that others look at.
        """
        reason = self._refusal(stage, stored)
        if reason is not None:
            self.refusals.append(f"{', '.join(stage.nodes) or stage.write.buffer.name}: {reason}")
            return False
        self.stages.append(stage)
        return True

    def try_store_part(self, stage: Stage) -> bool:
        """Let the group store what `stage` copies also where it copies it: into a part of another buffer.

        A value goes to one place besides its own, and not in runs that are shorter than a row where rows could be full.
        """
        copied = stage.reads[0].buffer
        if any(_is_copy(member) and member.reads[0].buffer is copied for member in self.stages):
            return False
        return (self.product is not None or _run_length(stage.write) >= LANES) and self.try_join(stage)

    def _refusal(self, stage: Stage, stored: Collection[Buffer]) -> str | None:
        if StageKind.CALL in (stage.kind, self.stages[0].kind):
            return "a kernel written by hand stays as it is"
        if self.attention is not None:
            return "attention is a kernel of its own"
        if stage.changes_state or self.stages[0].changes_state:
            return "what changes a buffer in place is a kernel of its own"
        if self.is_sealed:
            return "its producer is a copy of several parts"
        if stage.kind is StageKind.PRODUCT:
            return "a product starts a kernel of its own"
        if stage.is_scalar or self.stages[0].is_scalar:
            return "integers and what they address are kernels of their own"
        names: dict[Loop, Loop] = {}
        # Splitting during a match changes the loops of earlier pairs, so match until nothing is split any more.
        for _ in range(8):
            shape = _loop_shape([*self.stages, stage])
            names = {}
            reason = self._match_reads(stage, names)
            if reason is not None:
                return reason
            if _loop_shape([*self.stages, stage]) == shape:
                break
        if self._turns_lanes(stage, names):
            return "it stores its result along another loop, which would have to be in the lanes"
        self._match_external(stage, names)
        self._match_reduced(stage, names)
        if self.frame and not keeps_windows(self.frame, self.stages, stage, names):
            return "windows would have to look at a framed image in memory"
        if self.product is not None:
            if stage.kind is not StageKind.MAP:
                return "only maps follow a product in its kernel"
            if any(loop not in names for loop in stage.loops):
                return "it has loops that the product's output has not"
            writes = [member.write for member in self.stages if member.write.buffer in stored]
            if any(_lie_across(write, stage.write, names) for write in writes):
                return "it stores its result along another loop than the kernel stores others"
        reason = self._temporaries_refusal(stage, names)
        if reason is not None:
            return reason
        rename_loops(stage, names)
        return None

    def _match_reads(self, stage: Stage, names: dict[Loop, Loop]) -> str | None:
        matched = False
        for read in stage.reads:
            writer = self.writer(read.buffer)
            if writer is None:
                continue
            pairs = match_loops(writer.write, read, self.stages, stage)
            if pairs is None:
                return "its read does not match the producer's write by stride"
            for mine, theirs in pairs:
                if names.get(theirs, mine) is not mine:
                    return "two of its reads need different loops"
                names[theirs] = mine
            matched = True
        if len(set(names.values())) != len(names):
            return "two of its loops would become one"
        return None if matched else "it reads nothing that the group writes"

    def _turns_lanes(self, stage: Stage, names: dict[Loop, Loop]) -> bool:
        """Whether the stage is a copy whose elements are contiguous along another loop than those that it reads."""
        writer = self.writer(stage.reads[0].buffer) if _is_copy(stage) else None
        return writer is not None and _lie_across(writer.write, stage.write, names)

    def _match_external(self, stage: Stage, names: dict[Loop, Loop]) -> None:
        """Give loops that read the same outside data in the same way the same name."""
        for read in stage.reads:
            if self.writer(read.buffer) is not None:
                continue
            for mine in self._reads_of(read.buffer):
                _match_same_read(mine, read, names)

    def _match_reduced(self, stage: Stage, names: dict[Loop, Loop]) -> None:
        """A loop along the elements of the result takes the name of one along which the group reduces elements.

        Nothing ties them when the stage reads the reduction but not what was reduced; both want the lanes.
        """
        free = [loop for loop, stride in stage.write.strides.items() if stride == 1 and loop not in names]
        reduced = [
            loop
            for member in self.stages
            for loop in member.reduced
            if loop not in names.values() and any(read.stride(loop) == 1 for read in member.reads)
        ]
        for mine in reduced:
            if free and free[0].extent == mine.extent and free[0] is not mine:
                names[free[0]] = mine
                return

    def _reads_of(self, buffer: Buffer) -> list[Access]:
        return [read for stage in self.stages for read in stage.reads if read.buffer is buffer]

    def _temporaries_refusal(self, stage: Stage, names: dict[Loop, Loop]) -> str | None:
        if self.product is not None:
            return None
        before = outer_loops(self.stages)
        reduced = {names.get(loop, loop) for loop in stage.reduced}
        outer = (before & {names.get(loop, loop) for loop in stage.loops}) - reduced
        if outer != before and any(member.reduced for member in self.stages):
            return "it would reduce or drop a loop that the kernel's rows run over"
        rows = 0
        for member in self.stages:
            inner = [loop for loop in member.write.strides if loop not in outer]
            if inner:
                elements = math.prod(loop.extent for loop in inner)
                in_lanes = any(member.write.strides[loop] == 1 for loop in inner)
                rows += -(-elements // 32) if in_lanes else elements
        if rows > MAX_TEMPORARY_ROWS:
            return f"intermediate values of {rows} rows exceed {MAX_TEMPORARY_ROWS} rows of a pad"
        return None


def _lie_across(mine: Access, theirs: Access, names: dict[Loop, Loop]) -> bool:
    """Whether both are contiguous, but along different loops."""
    source, target = (
        next((loop for loop, stride in write.strides.items() if stride == 1), None) for write in (mine, theirs)
    )
    return source is not None and target is not None and names.get(target, target) is not source


def _is_copy(stage: Stage) -> bool:
    return stage.kind is StageKind.MAP and stage.body.op == "load"


def _is_whole_copy(stage: Stage) -> bool:
    """Whether the stage copies all of a buffer, in any order."""
    return _is_copy(stage) and not stage.is_scalar and not stage.write.indirect and covers_buffer(stage.reads[0])


def _run_length(access: Access) -> int:
    """Elements that lie one after the other."""
    length = 1
    for loop, stride in sorted(access.strides.items(), key=lambda item: item[1]):
        if stride == length:
            length *= loop.extent
    return length


def _match_same_read(mine: Access, theirs: Access, names: dict[Loop, Loop]) -> None:
    if mine.offset != theirs.offset or not covers_buffer(mine) or not covers_buffer(theirs):
        return
    by_stride = {stride: loop for loop, stride in mine.strides.items()}
    candidates = {loop: by_stride.get(stride) for loop, stride in theirs.strides.items()}
    if any(found is None or found.extent != loop.extent for loop, found in candidates.items()):
        return
    for loop, found in candidates.items():
        if found is not None and loop not in names and found not in names.values():
            names[loop] = found


def _loop_shape(stages: Sequence[Stage]) -> list[list[int]]:
    return [[loop.extent for loop in stage.loops] for stage in stages]


def form_groups(
    stages: Sequence[Stage], parts: Sequence[int], results: Collection[Buffer] = (), *, chains: bool = True
) -> list[Group]:
    """Group stages in program order; stages with equal entries in `parts` belong to one operation and stay together.

    What an attention or, with `chains`, two products compute in between must not be among `results`, which others look
    at.
    """
    groups: list[Group] = []
    home: dict[Buffer, Group] = {}
    stored = _Stored(stages, results)
    shared = {number for number, count in Counter(parts).items() if count > 1}
    attentions, refusals = _attentions(
        stages, results, {stage for stage, number in zip(stages, parts, strict=True) if number in shared}
    )
    frames = {window: made for window, made in frame_stages(stages, results).items() if has_windows(made, window)}
    inside = {stage for made in frames.values() for stage in made}
    for _, members in itertools.groupby(zip(stages, parts, strict=True), key=lambda item: item[1]):
        operation = [stage for stage, _ in members if stage not in inside]
        if not operation:
            continue
        attention = attentions.get(operation[0])
        if operation[0] in frames:
            group = home[operation[0].write.buffer] = Group(operation, frame=frames[operation[0]])
            groups.append(group)
        elif attention is None:
            group = home[operation[0].write.buffer] = _join_or_start(operation, groups, home, stored)
            if operation[0] in refusals:
                group.refusals.append(refusals[operation[0]])
        elif operation[0] is attention.stages[-1]:
            # where its last stage stands, all that it reads has been computed
            group = Group(list(attention.stages), attention=attention)
            groups.append(group)
            home[operation[0].write.buffer] = group
    return _chained(groups, results) if chains else groups


def _chained(groups: Sequence[Group], results: Collection[Buffer]) -> list[Group]:
    """Neighbours whose products are better one kernel are one group; pairs from the front, which do not overlap."""
    chained: list[Group] = []
    for group in groups:
        pair = None
        if chained:
            pair = _chain(chained[-1], group, groups, results) or _turned(chained[-1], group, groups, results)
        if pair is not None:
            chained[-1] = pair
        else:
            chained.append(group)
    return chained


def _can_pair(first: Group, second: Group) -> bool:
    """Whether both are groups of stages with common loops."""
    pair = (first, second)
    return not any(g.attention or g.chain or g.turned or g.loose or g.frame or g.is_sealed for g in pair)


def _others(first: Group, second: Group, groups: Sequence[Group]) -> list[Stage]:
    """Stages of all other groups."""
    return [
        stage
        for group in groups
        if group is not second and group.stages[0] is not first.stages[0]
        for stage in group.all_stages
    ]


def _turned(first: Group, second: Group, groups: Sequence[Group], results: Collection[Buffer]) -> Group | None:
    """A turned copy and the product that alone reads it, where the array turns it in less time in the pads."""
    if not _can_pair(first, second) or len(first.stages) != 1 or second.product is None:
        return None
    copied = first.stages[0].write.buffer
    others = _others(first, second, groups)
    read = {access.buffer for stage in others for access in stage.reads}
    if copied in read or copied in results:
        return None
    leaving = {stage.write.buffer for stage in second.stages} & (read | set(results))

    def is_faster() -> bool:
        # planning changes loops, which must not happen to stages that stay apart
        copies = copy.deepcopy((first.stages, second.stages, leaving))
        for stages in copies[:2]:
            coalesce_loops(stages)
        return plan_turned_product(copies[0][0], copies[1], copies[2]) is not None

    described = Description().stages(first.stages).stages(second.stages).buffers(leaving)
    if not recall("turned product", described.key, is_faster):
        return None
    return Group(
        [*first.stages, *second.stages],
        refusals=[*first.refusals, *second.refusals],
        turned=(first.stages[0], second.stages),
    )


def _chain(first: Group, second: Group, groups: Sequence[Group], results: Collection[Buffer]) -> Group | None:
    if not _can_pair(first, second) or first.product is None or second.product is None:
        return None
    others = _others(first, second, groups)
    kept = chained_buffer(first.stages, second.stages, others)
    if kept is None or kept in results or any(stage.write.buffer in results for stage in first.stages):
        return None
    read = {access.buffer for stage in others for access in stage.reads}
    leaving = {stage.write.buffer for stage in second.stages} & (read | set(results))

    def is_faster() -> bool:
        # planning changes loops, which must not happen to stages that stay apart
        copies = copy.deepcopy((first.stages, second.stages, kept, leaving))
        for stages in copies[:2]:
            coalesce_loops(stages)
        return plan_chain(*copies) is not None

    described = Description().stages(first.stages).stages(second.stages).buffers([kept]).buffers(leaving)
    if not recall("chain", described.key, is_faster):
        return None
    names = [", ".join(second.stages[0].nodes) or second.stages[0].write.buffer.name]
    refusals = [text for text in first.refusals if text.partition(": ")[0] not in names]
    return Group(
        [*first.stages, *second.stages],
        refusals=[*refusals, *second.refusals],
        chain=(first.stages, second.stages),
    )


def _attentions(
    stages: Sequence[Stage], results: Collection[Buffer], parts: Collection[Stage]
) -> tuple[dict[Stage, AttentionStages], dict[Stage, str]]:
    """The attention that a stage belongs to, and for the second products of the others why they have no kernel."""
    members: dict[Stage, AttentionStages] = {}
    refusals: dict[Stage, str] = {}
    for found in find_attention(stages, results, parts):
        if any(stage in members for stage in found.stages):
            refusals[found.output] = "attention is not one kernel: its scores are the result of another attention"
            continue
        # planning changes loops, which must not happen to stages that stay apart
        unified = unify(copy.deepcopy(found))
        plan = unified if isinstance(unified, str) else plan_attention(unified)
        if isinstance(plan, str):
            refusals[found.output] = f"attention is not one kernel: {plan}"
        else:
            members.update(dict.fromkeys(found.stages, found))
    return members, refusals


class _Stored:
    """Which buffers must be in memory: results, and what others than the stages of a kernel read."""

    def __init__(self, stages: Sequence[Stage], results: Collection[Buffer]) -> None:
        self.results = results
        self.readers: dict[Buffer, list[Stage]] = {}
        for stage in stages:
            for read in stage.reads:
                self.readers.setdefault(read.buffer, []).append(stage)

    def by(self, members: Sequence[Stage]) -> set[Buffer]:
        """Of those that `members` write."""
        written = {stage.write.buffer for stage in members}
        return {
            buffer
            for buffer in written
            if buffer in self.results or any(reader not in members for reader in self.readers.get(buffer, ()))
        }


def _join_or_start(operation: list[Stage], groups: list[Group], home: dict[Buffer, Group], stored: _Stored) -> Group:
    """The group that takes the stages of one operation: that of the latest producer, or a new one.

    Of an operation of several stages, which write parts of one buffer, one may read what groups wrote; where more do,
    as in a concatenation, each goes to its producer if that can store it in its place.
    """
    readers = [stage for stage in operation if any(read.buffer in home for read in stage.reads)]
    if len(readers) == 1:
        latest = max((home[read.buffer] for read in readers[0].reads if read.buffer in home), key=groups.index)
        if latest.try_join(readers[0], stored.by([*latest.stages, readers[0]])):
            latest.loose.extend(stage for stage in operation if stage is not readers[0])
            return latest
    if len(readers) > 1 and all(map(_is_whole_copy, operation)):
        takers = {stage: home[stage.reads[0].buffer] for stage in readers}
        joined = [stage for stage, group in takers.items() if group.try_store_part(stage)]
        operation = [stage for stage in operation if stage not in joined]
        if not operation:
            return max((takers[stage] for stage in joined), key=groups.index)
    group = Group(operation, is_sealed=len(operation) > 1)
    groups.append(group)
    return group
