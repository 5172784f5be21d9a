"""Word by word on the device: tokens agree with BF16 PyTorch wherever its margin is beyond the bound of the logits.

Llama keeps a cache on the device; GPT-2 looks at the whole text again for each word.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_plans
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.entry_points import EntryPoint, NamedPlan, plan_entries
from atalla_mlir.host.accumulated import AccumulatedBounds
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify_program
from atalla_mlir.zoo.language import Gpt2
from atalla_mlir.zoo.llama import Llama
from atalla_mlir.zoo.llama_decoder import LlamaDecoder

WORDS = 6


def decisive_llama() -> tuple[LlamaDecoder, torch.Tensor]:
    """A decoder with an opinion: mostly, each word is followed by a certain other one.

    With random weights the logits of all words are alike, and no bound could tell which of them is the largest.
    """
    model, (prompt,) = zoo.build("llama", length=5, layers=1, positions=16, vocabulary=64)
    assert isinstance(model, Llama)
    followers = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        model.words.weight.mul_(200)
        model.head.weight[followers] = model.words.weight * 0.0125 + model.head.weight * 0.1
    return LlamaDecoder(model).eval(), prompt


@pytest.fixture(scope="module")
def compiled() -> tuple[LlamaDecoder, torch.Tensor, tuple[NamedPlan, ...], TorchProgram]:
    decoder, prompt = decisive_llama()
    entries = {"prompt": (prompt,), "step": EntryPoint((prompt[:, :1],), method="step")}
    plans = plan_entries(decoder, entries, strict=True)
    return decoder, prompt, plans, TorchProgram(compile_plans(plans))


def test_tokens_agree_where_the_margin_decides(
    compiled: tuple[LlamaDecoder, torch.Tensor, tuple[NamedPlan, ...], TorchProgram],
) -> None:
    decoder, prompt, plans, program = compiled
    program.reset_state()
    bounds = AccumulatedBounds(plans, program.loadable)
    reference = copy.deepcopy(decoder).bfloat16()
    words, entry, decided, distinct = prompt, "prompt", 0, set[int]()
    for _ in range(WORDS):
        word, logits = program.entry(entry)(words)
        (bound,) = bounds.call(entry, [words]).values()
        with torch.no_grad():
            expected, scores = reference(words) if entry == "prompt" else reference.step(words)
        assert np.all(np.abs(logits.double().numpy() - bound.value) <= bound.error)
        best, second = scores.float().topk(2).values[0].tolist()
        if best - second > 2 * bound.error.max():
            decided += 1
            assert word.item() == expected.item()
        distinct.add(int(word.item()))
        words, entry = word, "step"
    assert decided >= WORDS - 1, "the model of this test is to decide"
    assert len(distinct) > 1
    assert program.state["b_count"].tolist() == [len(prompt[0]) + WORDS - 1]


def decisive_gpt2() -> tuple[nn.Module, torch.Tensor]:
    """A model whose positions say which word comes next; its words are the same for input and result."""
    model, (text,) = zoo.build("gpt2_small", length=10, depth=1, dim=64, heads=2, vocabulary=64, positions=10)
    assert isinstance(model, Gpt2)
    followers = torch.randperm(64, generator=torch.Generator().manual_seed(7))[:10]
    with torch.no_grad():
        model.words.weight.mul_(200)
        model.positions.weight.copy_(model.words.weight[followers] * 8)
    return model.eval(), text


def test_words_of_gpt2_agree_where_the_margin_decides() -> None:
    model, text = decisive_gpt2()
    plans = plan_entries(model, {"main": (text,)}, strict=True)
    program = TorchProgram(compile_plans(plans))
    reference = copy.deepcopy(model).bfloat16()
    decided, distinct = 0, set[int]()
    for at in range(2, 2 + WORDS):
        logits = program(text)[0, at]
        (bound,) = AccumulatedBounds(plans, program.loadable).call("main", [text]).values()
        with torch.no_grad():
            scores = reference(text)[0, at].float()
        error = bound.error[0, at]
        assert np.all(np.abs(logits.double().numpy() - bound.value[0, at]) <= error)
        best, second = scores.topk(2).values.tolist()
        if best - second > 2 * error.max():
            decided += 1
            assert logits.argmax() == scores.argmax()
        distinct.add(int(logits.argmax()))
        text[0, at + 1] = logits.argmax()
    assert decided >= WORDS - 1, "the model of this test is to decide"
    assert len(distinct) > 1


class _Step(nn.Module):
    """What a decoder does with one more word."""

    def __init__(self, decoder: LlamaDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, word: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.decoder.step(word)


def test_both_entry_points_verify(
    compiled: tuple[LlamaDecoder, torch.Tensor, tuple[NamedPlan, ...], TorchProgram],
) -> None:
    decoder, prompt, plans, program = compiled
    program.reset_state()
    first = verify_program(program.entry("prompt"), plans[0].plan, decoder, (prompt,))
    assert first.ok, str(first)
    assert first.totals.cosine_f32 > 0.998
    reference = copy.deepcopy(decoder)
    with torch.no_grad():
        word, _ = reference(prompt)
    second = verify_program(program.entry("step"), plans[1].plan, _Step(reference), (word,))
    assert second.ok, str(second)
    assert second.totals.cosine_f32 > 0.998
    assert first.totals.host_ops == second.totals.host_ops == ()


def test_parameters_are_in_the_loadable_once(
    compiled: tuple[LlamaDecoder, torch.Tensor, tuple[NamedPlan, ...], TorchProgram],
) -> None:
    program = compiled[3]
    named = [row["name"] for row in program.loadable.meta["constants"]]
    assert sum("words_weight" in name for name in named) == 1
    assert {row["target"] for row in program.loadable.meta["state"]} == {
        "count",
        "layers.0.attention.keys",
        "layers.0.attention.values",
    }


def test_a_prompt_of_another_length_is_refused(
    compiled: tuple[LlamaDecoder, torch.Tensor, tuple[NamedPlan, ...], TorchProgram],
) -> None:
    program = compiled[3]
    with pytest.raises(BadInputError) as caught:
        program(torch.zeros(1, 7, dtype=torch.int64))
    assert str(caught.value) == (
        "no entry point takes int64[1, 7]; the program was compiled for:\n"
        "  prompt(words: i64[1, 5])\n"
        "  step(word: i64[1, 1])"
    )
