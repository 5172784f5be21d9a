"""Models of the transformers package, from configurations with random weights; larger ones are run by hand."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify
from bench import hugging_face

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 96,
    "max_position_embeddings": 64,
}


class FirstResult(nn.Module):
    """A model of the package that returns its main result alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        return self.model(words, return_dict=False)[0]


def test_a_decoder_with_grouped_heads() -> None:
    torch.manual_seed(0)
    configuration = transformers.Qwen2Config(**SIZES, num_key_value_heads=1, use_cache=False)
    model = FirstResult(transformers.Qwen2ForCausalLM(configuration))
    report = verify(model, (torch.randint(96, (1, 12)),))
    assert report.ok, str(report)
    assert report.totals.host_ops == ()
    assert report.totals.cosine_f32 > 0.998


def test_positions_that_are_counted_from_a_mask() -> None:
    row = hugging_face.measure("RoBERTa")
    assert row.ok, row
    assert row.host == ()
    assert row.cosine > 0.998
