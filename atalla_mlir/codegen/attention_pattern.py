"""Find attention among stages: softmax(q @ k^T, whatever is done to the scores) @ v, so that one kernel can compute it.

The stages in between may be any maps over the scores (scale, masks); what they read besides is a row of keys for each
query, or one row for all of them. Copies of operands and of the result into another order of dimensions are taken in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind, match_loops, rename_loops
from atalla_mlir.codegen.visible_keys import VisibleKeys, visible_keys

MATCH_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class AttentionStages:
    """The stages of one attention, before their loops are unified.

    `maps` lie between the scores and the softmax. `copies` bring operands into the order in which the products read
    them, `result` is the copy of what the second product gives, if there is one.
    """

    copies: tuple[Stage, ...]
    scores: Stage
    maps: tuple[Stage, ...]
    maximum: Stage
    shifted: Stage
    exponential: Stage
    total: Stage
    normalised: Stage
    output: Stage
    result: Stage | None

    @property
    def softmax(self) -> tuple[Stage, ...]:
        return (self.maximum, self.shifted, self.exponential, self.total, self.normalised)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All of them; those that depend on others come later."""
        result = () if self.result is None else (self.result,)
        return (*self.copies, self.scores, *self.maps, *self.softmax, self.output, *result)


class Users:
    """Who reads each buffer."""

    def __init__(self, stages: Sequence[Stage], results: Collection[Buffer]) -> None:
        self._readers: dict[Buffer, list[Stage]] = {}
        self._writers: dict[Buffer, list[Stage]] = {}
        self._results = results
        for stage in stages:
            self._writers.setdefault(stage.write.buffer, []).append(stage)
            for buffer in dict.fromkeys(read.buffer for read in stage.reads):
                self._readers.setdefault(buffer, []).append(stage)

    def readers(self, stage: Stage) -> list[Stage]:
        """The stages that read what `stage` writes; none when others write to it too, or it is a result."""
        buffer = stage.write.buffer
        if buffer in self._results or len(self._writers[buffer]) > 1:
            return []
        return self._readers.get(buffer, [])

    def only_reader(self, stage: Stage) -> Stage | None:
        readers = self.readers(stage)
        return readers[0] if len(readers) == 1 else None

    def writer(self, buffer: Buffer) -> Stage | None:
        writers = self._writers.get(buffer, [])
        return writers[0] if len(writers) == 1 else None


def find_attention(
    stages: Sequence[Stage], results: Collection[Buffer], parts: Collection[Stage] = ()
) -> list[AttentionStages]:
    """All attentions among `stages`, which are in program order.

    `results` are buffers that must be stored; `parts` are stages that belong together with others, such as those of a
    concatenation: what they copy is no operand and no result of an attention.
    """
    users = Users(stages, results)
    found: list[AttentionStages] = []
    for stage in stages:
        if stage.kind is StageKind.PRODUCT:
            attention = _from_scores(stage, users, parts)
            if attention is not None:
                found.append(attention)
    return found


def _from_scores(scores: Stage, users: Users, parts: Collection[Stage]) -> AttentionStages | None:
    """The attention whose scores the product `scores` computes."""
    maps: list[Stage] = []
    last, readers = scores, users.readers(scores)
    while len(readers) == 1 and readers[0].kind is StageKind.MAP and not readers[0].is_scalar:
        last = readers[0]
        maps.append(last)
        readers = users.readers(last)
    maximum = next((stage for stage in readers if stage.combine is Combine.MAX and stage.body.op == "load"), None)
    shifted = next((stage for stage in readers if _is_binary(stage, "sub", last, maximum)), None)
    if len(readers) != 2 or maximum is None or shifted is None or users.only_reader(maximum) is not shifted:
        return None
    exponential = users.only_reader(shifted)
    if exponential is None or exponential.body.op != "exp" or exponential.body.args[0].op != "load":
        return None
    readers = users.readers(exponential)
    total = next((stage for stage in readers if stage.combine is Combine.ADD and stage.body.op == "load"), None)
    normalised = next((stage for stage in readers if _is_binary(stage, "div", exponential, total)), None)
    if len(readers) != 2 or total is None or normalised is None or users.only_reader(total) is not normalised:
        return None
    output = users.only_reader(normalised)
    if output is None or output.kind is not StageKind.PRODUCT or not _is_read_once(output, normalised):
        return None
    copies: list[Stage] = []
    for read in (*scores.reads, *output.reads):
        chain: list[Stage] = []
        writer = users.writer(read.buffer)
        while writer is not None and _is_copy(writer) and writer not in parts and users.only_reader(writer):
            chain.insert(0, writer)
            writer = users.writer(writer.reads[0].buffer)
        copies += chain
    result = users.only_reader(output)
    if result is not None and (result in parts or not _is_copy(result)):
        result = None
    return AttentionStages(
        tuple(dict.fromkeys(copies)),
        scores,
        tuple(maps),
        maximum,
        shifted,
        exponential,
        total,
        normalised,
        output,
        result,
    )


def _is_binary(stage: Stage, op: str, left: Stage, right: Stage | None) -> bool:
    """Whether `stage` is a map `op` of what `left` and `right` give."""
    arguments = stage.body.args
    if right is None or stage.kind is not StageKind.MAP or stage.body.op != op:
        return False
    if any(argument.op != "load" for argument in arguments):
        return False
    read = [stage.reads[argument.read].buffer for argument in arguments]
    return read == [left.write.buffer, right.write.buffer]


def _is_read_once(product: Stage, stage: Stage) -> bool:
    return sum(read.buffer is stage.write.buffer for read in product.reads) == 1


def _is_copy(stage: Stage) -> bool:
    return stage.kind is StageKind.MAP and stage.body.op == "load" and not stage.is_scalar and not stage.changes_state


@dataclass(eq=False)
class Attention:
    """An attention over unified loops. `heads` index all operands or some of them and the result; `queries` and
    `keys` are the dimensions of the scores, `depth` is summed in them, `width` is that of values and results.

    `maps` and `softmax` are on the loops `heads`, `queries` and `keys`; reads of `maps` that are not of one another are
    in `outside`, but for the mask of `visible`, which is the last map if it is known what it hides.
    """

    heads: list[Loop]
    queries: Loop
    keys: Loop
    depth: Loop
    width: Loop
    query: Access
    key: Access
    value: Access
    output: Access
    found: AttentionStages
    outside: list[Access] = field(default_factory=list)
    visible: VisibleKeys | None = None


def unify(found: AttentionStages) -> Attention | str:
    """The attention over loops that all of its stages share, or why that cannot be; the stages change for it."""
    written = {copy.write.buffer for copy in found.copies}
    for stage in (found.scores, found.output):
        for operand in range(len(stage.reads)):
            while stage.reads[operand].buffer in written:
                reason = _read_through(stage, operand, found)
                if reason is not None:
                    return reason
    members = [found.scores]
    for stage in (*found.maps, *found.softmax, found.output, *([found.result] if found.result else [])):
        reason = _join(members, stage)
        if reason is not None:
            return reason
        members.append(stage)
    return _roles(found)


def _read_through(product: Stage, operand: int, found: AttentionStages) -> str | None:
    """Let a product read what a copy reads, instead of what the copy writes."""
    read = product.reads[operand]
    copy = next(stage for stage in found.copies if stage.write.buffer is read.buffer)
    pairs = match_loops(copy.write, product.reads[operand], [copy], product)
    if pairs is None:
        return "an operand is a copy that does not match its use by stride"
    names = dict(pairs)
    source = copy.reads[0]
    if any(loop not in names for loop in source.strides):
        return "an operand is a copy of a sum"
    strides = {names[loop]: stride for loop, stride in source.strides.items()}
    product.reads[operand] = replace(source, strides=strides)
    return None


def _join(members: list[Stage], stage: Stage) -> str | None:
    """Rename the loops of `stage` to those of the members whose results it reads."""
    writers = {member.write.buffer: member for member in members}
    names: dict[Loop, Loop] = {}
    for _ in range(MATCH_ROUNDS):
        shape = [[loop.extent for loop in member.loops] for member in (*members, stage)]
        names = {}
        for read in stage.reads:
            writer = writers.get(read.buffer)
            if writer is None:
                continue
            pairs = match_loops(writer.write, read, members, stage)
            if pairs is None:
                return "stages of the softmax do not match by stride"
            for mine, theirs in pairs:
                if names.get(theirs, mine) is not mine:
                    return "a stage of the softmax needs different loops for two of its reads"
                names[theirs] = mine
        if [[loop.extent for loop in member.loops] for member in (*members, stage)] == shape:
            break
    rename_loops(stage, names)
    return None


def _roles(found: AttentionStages) -> Attention | str:
    scores, output = found.scores, found.output
    reduced, summed = scores.reduced, output.reduced
    if len(reduced) != 1 or len(summed) != 1:
        return "its sums run over several loops"
    (depth,), (keys,) = reduced, summed
    if found.maximum.reduced != [keys] or found.total.reduced != [keys]:
        return "its softmax is not over the keys"
    kept = [loop for loop in scores.loops if loop is not depth]
    probabilities = found.normalised.write.buffer
    value = next(read for read in output.reads if read.buffer is not probabilities)
    sides = [read for read in scores.reads if read.stride(keys)]
    others = [read for read in scores.reads if not read.stride(keys)]
    if keys not in kept or len(sides) != 1 or len(others) != 1:
        return "the keys of its scores are not those of its values"
    (key,), (query,) = sides, others
    queries = [loop for loop in kept if query.stride(loop) and not key.stride(loop) and not value.stride(loop)]
    width = [loop for loop in output.loops if loop not in kept]
    if len(width) != 1:
        return "the width of its values is no loop of its own"
    # several loops of queries that share keys are heads whose keys do not move, but for the longest
    rows = max(queries, key=lambda loop: loop.extent, default=Loop(1, "query"))
    written = found.result or output
    heads = [loop for loop in kept if loop is not keys and loop is not rows]
    attention = Attention(heads, rows, keys, depth, width[0], query, key, value, written.write, found)
    attention.outside = _outside(found)
    attention.visible = _visible(attention)
    if attention.visible is not None:
        attention.outside = [access for access in attention.outside if access is not attention.visible.mask]
    return attention


def _visible(attention: Attention) -> VisibleKeys | None:
    """The keys that the last map leaves to each query."""
    maps = attention.found.maps
    known = visible_keys(maps[-1]) if maps else None
    if known is None or (known.queries, known.keys) != (attention.queries, attention.keys):
        return None
    return known


def _outside(found: AttentionStages) -> list[Access]:
    inside = {found.scores.write.buffer, *(stage.write.buffer for stage in found.maps)}
    return [read for stage in found.maps for read in stage.reads if read.buffer not in inside]
