"""The packets of a finished `ax01.func` as one attribute in place of operations, which take long to make and to read.

The attribute `atalla.packets` is a dictionary: `code` the packets in base64, with distances of 0, and as JSON `jumps`
(packet, slot and the label or function that it goes to), `labels` (numbers of packets), `sources` (texts of positions)
and `runs` (pairs: number of a text, or -1, and how many packets in a row come from there).
"""

import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from atalla_mlir._mlir import ir, string_attr, string_value

PACKETS = "atalla.packets"


@dataclass(frozen=True)
class EncodedPackets:
    """Code in the machine's bytes; `sources` has one entry per packet (`_mlir.Sources`)."""

    code: bytes
    jumps: Sequence[tuple[int, int, str]]
    labels: Mapping[str, int]
    sources: Sequence[Optional[str]]

    def attribute(self) -> ir.DictAttr:
        """The attribute, in the current context."""
        texts = list(dict.fromkeys(source for source in self.sources if source is not None))
        numbers = {None: -1, **{text: number for number, text in enumerate(texts)}}
        runs = [(numbers[source], len(list(run))) for source, run in itertools.groupby(self.sources)]
        described = {"jumps": list(self.jumps), "labels": dict(self.labels), "sources": texts, "runs": runs}
        code = base64.b64encode(self.code).decode("ascii")
        values = {"code": code, **{key: json.dumps(value) for key, value in described.items()}}
        return ir.DictAttr.get({key: string_attr(value) for key, value in values.items()})

    @staticmethod
    def read(attribute: ir.Attribute) -> "EncodedPackets":
        """The inverse of `attribute`."""
        values = {item.name: string_value(item.attr) for item in ir.DictAttr(attribute)}
        jumps, labels, texts, runs = (json.loads(values[key]) for key in ("jumps", "labels", "sources", "runs"))
        repeated = (itertools.repeat(texts[at] if at >= 0 else None, count) for at, count in runs)
        return EncodedPackets(
            base64.b64decode(values["code"]),
            tuple((packet, slot, target) for packet, slot, target in jumps),
            labels,
            tuple(itertools.chain.from_iterable(repeated)),
        )
