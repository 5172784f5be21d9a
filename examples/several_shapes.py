"""One loadable for several shapes and methods: parameters and kernels are in it once, a call picks what fits.

python examples/several_shapes.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

import atalla_mlir as atalla
from atalla_mlir.errors import BadInputError


class Scorer(nn.Module):
    """A classifier whose features can be had alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 96)
        self.head = nn.Linear(96, 10)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(self.features(x)), dim=-1)


def main() -> None:
    torch.manual_seed(0)
    model = Scorer()
    one, many = torch.randn(1, 64), torch.randn(8, 64)
    entries = {"one": (one,), "many": (many,), "embed": atalla.EntryPoint((many,), method="features")}
    program = atalla.compile(model, entries=entries)
    print("parameters:", ", ".join(row["name"] for row in program.loadable.meta["constants"]))

    for name, x in (("one", one), ("many", many)):
        y = program.entry(name)(x)
        assert torch.equal(y, atalla.compile(model, (x,))(x)), "an entry point differs from a program of its own"
        print(f"{name}: {tuple(x.shape)} -> {tuple(y.shape)}")
    print(f"embed: {tuple(many.shape)} -> {tuple(program.entry('embed')(many).shape)}")
    # the shape of one fits one entry point only, so its name is not needed
    print(f"picked: {tuple(program(one).shape)}")
    try:
        program(torch.randn(3, 64))
    except BadInputError as error:
        print(error)

    # an exported program of dynamic shapes becomes one of fixed shapes for each entry point
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scorer.pt2"
        exported = torch.export.export(model, (many,), dynamic_shapes=({0: Dim("batch")},))
        torch.export.save(exported, path)
        specialised = atalla.compile(path, entries={"two": (many[:2],), "five": (many[:5],)})
    for rows in (2, 5):
        y = specialised(many[:rows])
        assert torch.allclose(y, model(many[:rows]), atol=1e-2)
        print(f"from {path.name}: {tuple(y.shape)}")


if __name__ == "__main__":
    main()
