"""Plan kernels whose results each look at a window of an image, channels in the lanes: depthwise convolutions, pools.

The image is walked plane by plane (an image of 32 channels), each line by line. Lines pass through a ring in the pads
in one endless sequence, so each element comes from DRAM once and a plane begins while the one before ends. An iteration
computes `group` neighbouring results of a line; what it fetches is for iterations to come, what it sends are results
of earlier ones, so iterations share nothing but counters.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from atalla_mlir.codegen import window_cost
from atalla_mlir.codegen.decision import Decision, Fields, allowed
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind, coalesce_loops, rename_loops
from atalla_mlir.codegen.stage_memo import Description, recall
from atalla_mlir.codegen.window_frame import Frame, read_frame
from atalla_mlir.codegen.window_layout import Axis, WindowPlan, cuts, with_ring

FORM_NAME = "windows"
MAX_TAPS = 128
MAX_GROUP = 32
PAD_COUNTS = (1, 2, 4)
"""Pads over which the columns of an image may be dealt out."""


def plan_windows(
    stages: Sequence[Stage],
    stored: Sequence[Access],
    wanted: Fields | None = None,
    frame: Sequence[Stage] = (),
) -> tuple[WindowPlan, Decision] | None:
    """A plan and what it was chosen by, or None where the stages do not have the form; `wanted` fields are fixed.

    The stages of a `frame` make what windows look at; where there is a plan they then look at the image in it.
    """
    lane = _lane(stages, stored)
    if lane is None:
        return None
    if not frame:
        coalesce_loops(stages, apart={lane})
    found = window_shapes(stages, stored, frame)
    if found is None:
        return None
    whole, possible = found
    if wanted:
        possible = [shape for shape in possible if with_ring(shape) is not None]
    chosen = choose_windows(possible, stages, wanted or {})
    if chosen is None:
        return None
    look_at(stages, whole, chosen[0])
    return chosen


def look_at(stages: Sequence[Stage], whole: Access, plan: WindowPlan) -> None:
    """Let windows look at the image of a plan instead of the `whole` one with its frame."""
    window = stages[0]
    window.reads = [plan.image if read is whole else read for read in window.reads]


def choose_windows(
    possible: Sequence[WindowPlan],
    stages: Sequence[Stage],
    wanted: Fields,
    has_room: Callable[[WindowPlan], bool] = lambda _: True,
) -> tuple[WindowPlan, Decision] | None:
    """The plan that is predicted to be fastest, with its ring, and what it was chosen by; None where none has room."""
    found = allowed(FORM_NAME, possible, window_fields, wanted)
    costs = [(window_cost.cycles(shape, stages), -shape.group, shape) for shape in found]
    ordered = (shape for _, _, shape in sorted(costs, key=lambda item: item[:2]))
    plan = next((plan for plan in map(with_ring, ordered) if plan is not None and has_room(plan)), None)
    if plan is None or (not plan.moves and window_cost.is_mostly_counting(plan, stages)):
        return None
    facts = {"iterations": plan.iterations, "ring_lines": plan.ring_lines, "folds_columns_once": plan.is_separable}
    return plan, Decision(FORM_NAME, window_fields(plan), facts, window_cost.predicted_cycles(plan, stages), len(costs))


def window_shapes(
    stages: Sequence[Stage], stored: Sequence[Access], frame: Sequence[Stage]
) -> tuple[Access, list[WindowPlan]] | None:
    """What windows look at, with its frame, and all plans without a ring; None where stages do not have the form."""
    window, lane = stages[0], _lane(stages, stored)
    if lane is None:
        return None
    kept = [loop for loop in window.loops if loop not in window.reduced]
    image = _image(window, lane)
    framed = read_frame(frame) if frame else None
    if (
        image is None
        or (frame and (framed is None or image.buffer is not frame[0].write.buffer))
        or not _are_plain(stages, stored, kept, lane)
    ):
        return None
    if math.prod(loop.extent for loop in window.reduced) > MAX_TAPS:
        return None
    whole = image
    if framed is not None:
        image = framed.unframed(whole)
        if image is None or image.stride(lane) != 1:
            return None
    possible = [
        replace(shape, lines=axes[0], columns=axes[1], frame=framed.value if framed else None)
        for shape in _shapes(window, image, lane, kept)
        if (axes := _framed_axes(shape, whole, framed)) is not None
    ]
    return whole, [plan for shape in possible for plan in cuts(shape)]


def _lane(stages: Sequence[Stage], stored: Sequence[Access]) -> Loop | None:
    """The loop of the lanes of windows; None where stages are none."""
    window, *others = stages
    if window.kind is not StageKind.REDUCE or window.combine not in (Combine.ADD, Combine.MAX, Combine.MIN):
        return None
    if any(stage.kind is not StageKind.MAP for stage in others) or not window.reduced:
        return None
    return next((loop for loop in window.loops if all(access.stride(loop) == 1 for access in stored)), None)


def has_windows(frame: Sequence[Stage], window: Stage) -> bool:
    """Whether windows can look at an image without its frame."""

    def find() -> bool:
        # planning changes loops, which must not happen to stages that stay apart
        made, own = copy.deepcopy((list(frame), [window]))
        return plan_windows(own, [own[0].write], frame=made) is not None

    return recall("windows in a frame", Description().stages(frame).stages([window]).key, find)


def keeps_windows(frame: Sequence[Stage], stages: Sequence[Stage], stage: Stage, names: Mapping[Loop, Loop]) -> bool:
    """Whether `stages` still can when `stage`, whose loops are called as `names` says, follows them."""

    def find() -> bool:
        made, own, last = copy.deepcopy((list(frame), list(stages), [(stage, dict(names))]))
        rename_loops(*last[0])
        own.append(last[0][0])
        return plan_windows(own, [one.write for one in own], frame=made) is not None

    described = Description().stages(frame).stages(stages).stages([stage]).names(names)
    return recall("a stage behind windows in a frame", described.key, find)


def window_fields(plan: WindowPlan) -> Fields:
    """What of a plan a user may fix."""
    return {
        "lines": plan.lines.outs,
        "columns": plan.columns.outs,
        "group": plan.group,
        "pads": plan.pads,
        "pieces": plan.pieces,
    }


def _image(window: Stage, lane: Loop) -> Access | None:
    """What windows move over: the one operand that differs from result to result."""
    kept = {loop for loop in window.loops if loop not in window.reduced}
    images = [read for read in window.reads if set(read.strides) & kept - {lane}] or list(window.reads)
    if len(images) != 1 or images[0].stride(lane) != 1:
        return None
    image = images[0]
    is_dense = all(stride > 0 for stride in image.strides.values())
    return image if is_dense and all(image.stride(loop) for loop in window.reduced) else None


def _are_plain(stages: Sequence[Stage], stored: Sequence[Access], kept: Sequence[Loop], lane: Loop) -> bool:
    """Whether all that is read besides the image is one row for all results, and results are rows."""
    window, *others = stages
    fixed = {lane, *window.reduced}
    written: set[Buffer] = set()
    for stage in stages:
        if stage is not window and set(stage.loops) != set(kept):
            return False
        for read in stage.reads:
            if read.buffer in written or (stage is window and set(read.strides) - fixed):
                continue
            if (
                read.indirect
                or read.stride(lane) != 1
                or not set(read.strides) <= (fixed if stage is window else {lane})
            ):
                return False
        written.add(stage.write.buffer)
    return all(set(access.strides) == set(kept) for access in stored) and len(others) <= MAX_GROUP


def _framed_axes(shape: WindowPlan, whole: Access, frame: Frame | None) -> Sequence[Axis] | None:
    axes = (shape.lines, shape.columns)
    return axes if frame is None else frame.with_frame(whole, axes, (*shape.planes, shape.lane))


def _shapes(window: Stage, image: Access, lane: Loop, kept: Sequence[Loop]) -> Iterator[WindowPlan]:
    """All ways to call one loop of the results lines, and one columns, and to group results."""
    taps = sorted(window.reduced, key=image.stride, reverse=True)
    if len(taps) > 2:
        return
    outs = sorted((loop for loop in kept if loop is not lane), key=image.stride, reverse=True)
    if any(not image.stride(loop) for loop in outs):
        return
    is_separable = len(window.reads) == 1
    pairs = [(taps[0], taps[1])] if len(taps) == 2 else [(None, taps[0]), (taps[0], None)]
    for line, column in dict.fromkeys(itertools.permutations([*outs, None, None], 2)):
        for line_taps, column_taps in pairs:
            lines, columns = _axis(image, line, line_taps), _axis(image, column, column_taps)
            planes = tuple(loop for loop in outs if loop not in (line, column))
            for group, pads in itertools.product(range(1, min(MAX_GROUP, columns.outs) + 1), PAD_COUNTS):
                plan = WindowPlan(lane, image, planes, lines, columns, group, pads, is_separable=is_separable)
                if plan.groups == 1 or group * columns.step % pads == 0:
                    yield plan


def _axis(image: Access, loop: Loop | None, taps: Loop | None) -> Axis:
    step = image.stride(loop) if loop is not None else 0
    dilation = image.stride(taps) if taps is not None else 0
    unit = math.gcd(step, dilation) or 1
    return Axis(loop, taps, unit, step // unit, dilation // unit)
