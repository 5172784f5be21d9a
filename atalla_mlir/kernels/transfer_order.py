"""The order in which transfers that run side by side begin."""

from __future__ import annotations


def start_order(pads: int) -> list[int]:
    """The order in which transfers to all pads begin: every other one first.

    The channel serves bursts in turn, and a row has two: when neighbours begin right after each other, each row waits
    in its middle for a burst of all others, then the channel waits for all rows to arrive: it is busy 8 cycles of 10.
    """
    return [*range(0, pads, 2), *range(1, pads, 2)]


def falling_order(pads: int) -> list[int]:
    """The order for long transfers beside rows that are read: the channel's turn, from pad to pad, comes to them last.

    Which rhythm they find then hardly depends on by how many cycles the rows before delay each of them: of the ways to
    be up to two cycles late one in twelve makes the channel idle 2 cycles of 10, of those of `start_order` one in four.
    """
    return [0, *range(pads - 1, 0, -1)]


def piece_order(pieces: int, pads: int) -> list[int]:
    """The order for pieces of which piece i goes to pad i mod `pads`."""
    order = start_order(pads)
    return [piece for first in range(0, pieces, pads) for pad in order if (piece := first + pad) < pieces]
