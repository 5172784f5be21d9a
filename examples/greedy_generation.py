"""Greedy generation: a prompt and then word by word, with the keys and values of all words kept on the device.

python examples/greedy_generation.py
"""

from __future__ import annotations

import torch

import atalla_mlir as atalla
from atalla_mlir import zoo
from atalla_mlir.zoo.llama import Llama
from atalla_mlir.zoo.llama_decoder import LlamaDecoder


def main(words: int = 6) -> None:
    model, (prompt,) = zoo.build("llama", length=5, layers=1, positions=16)
    assert isinstance(model, Llama)
    decoder = LlamaDecoder(model).eval()
    step = atalla.EntryPoint((prompt[:, :1],), method="step")
    program = atalla.compile(decoder, entries={"prompt": (prompt,), "step": step}, strict=True)
    print("kept on the device:", ", ".join(row["target"] for row in program.loadable.meta["state"]))

    word, _ = program.entry("prompt")(prompt)
    text = [word]
    while len(text) < words:
        # the only input is the word; where it belongs and what came before is on the device
        word, _ = program.entry("step")(word)
        text.append(word)
    print("prompt:", *prompt[0].tolist())
    print("continued:", *torch.cat(text, 1)[0].tolist())
    print("packets a word:", program.counters["step"].packets)


if __name__ == "__main__":
    main()
