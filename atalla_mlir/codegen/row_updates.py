"""Buffers of which a call changes rows at one run-time position: only those rows are written.

In the graph such a change is a choice for each element: the new one where its position is the given number, else the
old one. Where the result lies in place of the old content, that is a store of the new rows to a computed address.
"""

from __future__ import annotations

from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind


def as_row_update(choice: Stage, condition: Stage) -> Stage | None:
    """`choice`, which changes a buffer in place, as a store of rows; None when it is something else.

    `condition` computes what is chosen by: whether a count of positions equals a number.
    """
    found = _chosen(choice, condition.write.buffer)
    position = _position(condition)
    if found is None or position is None:
        return None
    mask, new, old = found
    counted, number = position
    along = _same_loop(mask, condition.write, counted)
    if along is None or choice.reads[new].stride(along) or not choice.write.stride(along):
        return None
    reads = [choice.reads[new], *condition.reads, Access(choice.reads[old].buffer, 0, {})]
    write = choice.write
    strides = {loop: stride for loop, stride in write.strides.items() if loop is not along}
    return Stage(
        StageKind.MAP,
        [loop for loop in choice.loops if loop is not along],
        reads,
        Access(write.buffer, write.offset, strides, ((_within(number.read + 1, along), write.stride(along)),)),
        Node("load", read=0),
        nodes=(*condition.nodes, *choice.nodes),
        source=choice.source,
        changes_state=True,
    )


def _chosen(choice: Stage, mask: Buffer) -> tuple[Access, int, int] | None:
    """How the mask is read, and which reads are the new and the old element, if the stage is select(mask, new, old).

    A stage that changes a buffer in place reads what it replaces; the new element is the one that lies elsewhere.
    """
    if choice.body.op != "select" or choice.kind is not StageKind.MAP:
        return None
    condition, new, old = choice.body.args
    if condition.op == "cmp_une" and (condition.args[1].op, condition.args[1].value) == ("constant", 0.0):
        condition = condition.args[0]
    if any(node.op != "load" for node in (condition, new, old)):
        return None
    read, kept = choice.reads[condition.read], choice.reads[old.read]
    if read.buffer is not mask or kept.strides != choice.write.strides or kept.offset != choice.write.offset:
        return None
    return None if choice.write.buffer.is_integer else (read, new.read, old.read)


def _position(condition: Stage) -> tuple[Loop, Node] | None:
    """The loop whose count is compared, and the number that it must equal, if that is what the stage computes."""
    body = condition.body
    if body.op == "select":  # a truth that is stored
        body = body.args[0]
    if body.op != "cmp_int_eq" or condition.kind is not StageKind.MAP:
        return None
    for counter, number in (body.args, body.args[::-1]):
        if counter.op != "load" or number.op != "load":
            continue
        counted, other = condition.reads[counter.read], condition.reads[number.read]
        (loop,) = condition.loops if len(condition.loops) == 1 else (None,)
        is_count = counted.buffer.is_counter and counted.offset == 0 and counted.strides == {loop: 1}
        if loop is not None and is_count and not other.strides and not other.buffer.is_counter:
            return loop, number
    return None


def _same_loop(read: Access, write: Access, counted: Loop) -> Loop | None:
    """The loop of a reader whose iterations are those of `counted` in the writer."""
    if read.offset or write.offset or write.strides != {counted: 1} or list(read.strides.values()) != [1]:
        return None
    (loop,) = read.strides
    return loop if loop.extent == counted.extent else None


def _within(read: int, loop: Loop) -> Node:
    """A number held in the range of a loop: outside of it, where PyTorch gives an error, are other buffers."""
    low, high = Node("constant", value=0.0), Node("constant", value=float(loop.extent - 1))
    return Node("int_min", (Node("int_max", (Node("load", read=read), low)), high))
