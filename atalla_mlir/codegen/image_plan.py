"""Which values between kernels stay in the pads, and where: a plan for the launches of one entry.

Images lie at the low end of a pair of pads, or of all pads, those that are alive together beside each other; what is
above them is free for the kernels that run meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.image_kernel import Cost, ImageKernel, KeptImage
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.pad_images import HALVES, ImageShape, PadImage, Range
from atalla_mlir.codegen.product_chain import SPILL_ROWS
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.target.machine import Machine

MAX_SLOWDOWN = 1.01
"""Times what the kernels that touch an image are predicted to take without it: less than predictions are off."""
PAIRS = (0, 2)
"""The first pads of the pairs in which images lie."""


@dataclass(frozen=True)
class ImageLaunch:
    """A call of a kernel, with its operands and result as numbers of values; None for one of which nothing is known.

    `function` tells equal kernels.
    """

    function: str
    kernel: ImageKernel | None
    values: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    """Of `values`."""
    apart_cycles: Callable[[], float]
    """What the kernel is predicted to take when nothing stays in the pads."""


@dataclass(frozen=True)
class ImageValue:
    """A result of launch `made` that only other launches read, the last of them `last`."""

    number: int
    shape: ImageShape
    made: int
    readers: tuple[int, ...]

    @property
    def last(self) -> int:
        return self.readers[-1]


@dataclass
class ImagePlan:
    """What stays in the pads: images by the number of a value, and rows that are free for each launch among them."""

    images: dict[int, KeptImage] = field(default_factory=dict[int, KeptImage])
    free_rows: dict[int, int] = field(default_factory=dict[int, int])


class ImagePlanner:
    """Plans one entry. What fits is kept if it is worth it, or `always`."""

    def __init__(self, launches: Sequence[ImageLaunch], machine: Machine, *, always: bool = False) -> None:
        self.launches, self.machine, self.always = launches, machine, always
        self.placed: list[tuple[ImageValue, KeptImage]] = []
        self.values: Sequence[ImageValue] = ()
        self._known: dict[Hashable, Cost | None] = {}
        self._pairs: dict[str, int] = {}
        """In which pair of pads the result of a kernel came to lie."""

    def plan(self, values: Sequence[ImageValue]) -> ImagePlan:
        """Decide about values one after the other, in the order in which they are made, and again about those that stay
        in DRAM: kernels that find other operands in the pads may need fewer rows."""
        self.values = values
        for value in values:
            self._decide(value)
        for value in values:
            if all(value is not other for other, _ in self.placed):
                self._decide(value)
        images = {value.number: image for value, image in self.placed}
        touched = {at for value, _ in self.placed for at in range(value.made, value.last + 1)}
        return ImagePlan(images, {at: self._room(at) for at in sorted(touched)})

    def _decide(self, value: ImageValue) -> None:
        image = self._dealt(value) or self._image(value)
        placed = self._place(value, image) if image is not None else None
        if placed is None:
            return
        self.placed.append((value, placed))
        if isinstance(placed, PadImage):
            self._pairs.setdefault(self.launches[value.made].function, placed.first_pad)

    def _room(self, at: int) -> int:
        """Rows of each pad for a launch: what it takes, or fewer where there are fewer."""
        launch, images = self.launches[at], self._images(at, self.placed)
        free, whole = self._free_rows(self._alive(at)), self.machine.pad_rows - SPILL_ROWS
        if launch.kernel is None or (not images and launch.kernel.operand is not None):
            return free
        best = self._best(self._key(launch, images), launch.kernel, images, whole)
        return min(free, best.pad_rows if best is not None else 0)

    # What an image must hold

    def _image(self, value: ImageValue) -> PadImage | None:
        """The image, with no place yet; None where a launch cannot work on it."""
        held: list[list[Range]] = []
        for at in (value.made, *value.readers):
            needed = self._held(self.launches[at], value)
            if needed is None:
                return None
            held += needed
        if any(self.launches[at].kernel is None for at in range(value.made, value.last + 1)):
            return None
        whole = value.shape.halved_lines
        held.append([(0, 1), (whole - 1, whole)])
        starts = [min(ranges[half][0] for ranges in held) for half in range(HALVES)]
        lines = max(max(ranges[half][1] for ranges in held) - starts[half] for half in range(HALVES))
        lines = max(lines, starts[1] - starts[0])
        first, second = (min(start, whole - lines) for start in starts)
        shape, maker = value.shape, self.launches[value.made].kernel
        spare = maker.spare_rows if maker is not None else 0
        slices, starts = shape.channels // LANES, (first, second)
        return PadImage(shape.lines, shape.pixels, slices, 0, starts, lines, 0, spare, shape.pictures, shape.of_each)

    def _dealt(self, value: ImageValue) -> DealtImage | None:
        """The image dealt out over the pads, with no place yet; None where a launch cannot work on that."""
        made = self.launches[value.made]
        kernels = [self.launches[at].kernel for at in range(value.made, value.last + 1)]
        if len(value.readers) != 1 or None in kernels:
            return None
        stored, read = (
            [buffer for number, buffer in zip(launch.values, launch.buffers, strict=True) if number == value.number]
            for launch in (made, self.launches[value.last])
        )
        maker, reader = made.kernel, self.launches[value.last].kernel
        if maker is None or reader is None or len(stored) != 1 or len(read) != 1:
            return None
        return reader.reads_dealt(read[0], value.shape) if maker.stores_dealt(stored[0], value.shape) else None

    def _held(self, launch: ImageLaunch, value: ImageValue) -> list[list[Range]] | None:
        """What a launch must find of a value in each half; None where it cannot work on the image."""
        own = {buffer for number, buffer in zip(launch.values, launch.buffers, strict=True) if number == value.number}
        if launch.kernel is None or not own:
            return None
        found: list[list[Range]] = []
        for buffer in own:
            lines = launch.kernel.held_lines(buffer, value.shape)
            if lines is None:
                return None
            found += lines
        return found

    # Where it lies

    def _place(self, value: ImageValue, image: KeptImage) -> KeptImage | None:
        """The image where it begins as low as there is room; None where kernels would be too slow."""
        if isinstance(image, DealtImage):
            begin = self._begin(value, image, self._room_before(value, image))
            placed = replace(image, base=begin)
            return placed if begin >= 0 and self._is_worth_it(value, placed) else None
        made = self.launches[value.made]
        operand = next((placed for other, placed in self.placed if self._is_operand(made, other)), None)
        operand_pads = () if operand is None or isinstance(operand, DealtImage) else operand.pads
        last = self._pairs.get(made.function)
        given_up = {pad for at, placed in self.placed if self._is_given_up(value, at) for pad in placed.pads}
        for pair in sorted(PAIRS, key=lambda pair: (pair not in given_up, pair != last, pair in operand_pads)):
            placed = replace(image, first_pad=pair)
            begin = self._begin(value, placed)
            placed = replace(placed, base=begin + image.spare)
            if begin >= 0 and self._is_worth_it(value, placed):
                return placed
        return None

    def _is_operand(self, launch: ImageLaunch, value: ImageValue) -> bool:
        if launch.kernel is None or value.number not in launch.values:
            return False
        return launch.buffers[launch.values.index(value.number)] is launch.kernel.operand

    def _room_before(self, value: ImageValue, image: DealtImage) -> int:
        """Rows before an image that its reader's result needs to be written over it."""
        result = next((other for other in self.values if other.made == value.last), None)
        kernel, other = self.launches[value.last].kernel, self._image(result) if result is not None else None
        return (kernel.distance(image, other) or 0) if kernel is not None and other is not None else 0

    def _begin(self, value: ImageValue, image: KeptImage, before: int = 0) -> int:
        """The first row of the lowest free run of pads that is long enough; negative where there is none.

        So many rows `before` it are free, too.
        """
        alive = sorted(
            (
                other
                for at, other in self.placed
                if set(image.pads) & set(other.pads)
                and _overlap(value, at)
                and not self._is_written_over(value, image, at, other)
            ),
            key=lambda other: other.begin,
        )
        begin = 0
        for other in alive:
            if other.begin - begin >= before + image.rows:
                break
            begin = max(begin, other.end)
        begin += before
        return begin if begin + image.rows <= self.machine.pad_rows - SPILL_ROWS else -1

    def _is_written_over(self, value: ImageValue, image: KeptImage, other: ImageValue, placed: KeptImage) -> bool:
        """Whether an image may be written over another one; from row 0 on, over one that is dealt out."""
        kernel = self.launches[value.made].kernel
        if isinstance(image, PadImage) and isinstance(placed, PadImage):
            return self._is_given_up(value, other)
        if kernel is None or not isinstance(placed, DealtImage) or isinstance(image, DealtImage):
            return False
        distance = kernel.distance(placed, image) if other.last == value.made else None
        others = (at for at, _ in self.placed if at is not other)
        return distance is not None and distance <= placed.base and not any(_overlap(value, at) for at in others)

    def _is_given_up(self, value: ImageValue, other: ImageValue) -> bool:
        """Whether the kernel that makes a value has read all of another one, which nobody needs any more, by then."""
        launch = self.launches[value.made]
        own = dict(zip(launch.values, launch.buffers, strict=True)).get(other.number)
        if launch.kernel is None or own is None or other.last != value.made:
            return False
        return launch.kernel.writes_over(own)

    def _alive(self, at: int) -> list[KeptImage]:
        return [image for value, image in self.placed if value.made <= at <= value.last]

    def _free_rows(self, alive: Sequence[KeptImage]) -> int:
        """Rows of each pad above all images that are there, in whole pages, without those of spilled registers."""
        page = self.machine.page_rows
        highest = max((image.end for image in alive), default=0)
        return self.machine.pad_rows - -(-highest // page) * page - SPILL_ROWS

    def _is_worth_it(self, value: ImageValue, image: KeptImage) -> bool:
        """Whether all kernels that run while it is there have a plan, and those that touch it are not much slower."""
        placed = [*self.placed, (value, image)]
        after = {at: self._predicted(at, placed) for at in range(value.made, value.last + 1)}
        if None in after.values():
            return False
        if self.always:
            return True
        touching = {value.made, *value.readers}
        before = [self._predicted(at, self.placed) or math.inf for at in touching]
        return sum(after[at] or math.inf for at in touching) <= MAX_SLOWDOWN * sum(before)

    def _predicted(self, at: int, placed: Sequence[tuple[ImageValue, KeptImage]]) -> float | None:
        """Cycles of a launch beside images; None where it cannot run there."""
        alive = [image for value, image in placed if value.made <= at <= value.last]
        kept = sum(image.shape.num_bytes for image in alive)
        return self._chosen(self.launches[at], self._images(at, placed), self._free_rows(alive), kept)

    def _images(self, at: int, placed: Sequence[tuple[ImageValue, KeptImage]]) -> dict[Buffer, KeptImage]:
        """Those that a launch stores or reads."""
        launch, images = self.launches[at], dict[Buffer, KeptImage]()
        for value, image in placed:
            for number, buffer in zip(launch.values, launch.buffers, strict=True):
                if number == value.number:
                    images[buffer] = image
        return images

    def _key(self, launch: ImageLaunch, images: Mapping[Buffer, KeptImage]) -> tuple[Hashable, ...]:
        """What the plan of a launch depends on: where images lie makes no difference, to some kernels their pads do."""
        of_pads = launch.kernel is not None and launch.kernel.depends_on_pads
        return launch.function, *(
            (images[buffer].layout, images[buffer].pads if of_pads else ()) if buffer in images else 0
            for buffer in launch.buffers
        )

    def _chosen(
        self, launch: ImageLaunch, images: Mapping[Buffer, KeptImage], free: int, kept_bytes: int
    ) -> float | None:
        """The same with that many rows of each pad free.

        None, too, where for want of room more is fetched again than the images that are there have bytes.
        """
        if launch.kernel is None:
            return None
        whole = self.machine.pad_rows - SPILL_ROWS
        if not images and free == whole:
            return launch.apart_cycles()
        key = self._key(launch, images)
        best = self._best(key, launch.kernel, images, whole)
        if best is None or best.pad_rows <= free:
            return best.cycles if best is not None else None
        cramped = self._best((*key, free), launch.kernel, images, free)
        if cramped is None or cramped.fetched_bytes > best.fetched_bytes + kept_bytes:
            return None
        return cramped.cycles

    def _best(self, key: Hashable, kernel: ImageKernel, images: Mapping[Buffer, KeptImage], free: int) -> Cost | None:
        """What the best plan with so many free rows takes; None where there is no plan."""
        if key not in self._known:
            self._known[key] = kernel.cost(images, pads=self.machine.pads, pad_rows=free)
        return self._known[key]


def _overlap(value: ImageValue, other: ImageValue) -> bool:
    """Whether two values are there at the same time."""
    return value.made <= other.last and other.made <= value.last
