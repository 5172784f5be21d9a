"""Transformers and recurrent networks of the zoo, small: each kernel within its error bound."""

from __future__ import annotations

import pytest

from atalla_mlir import zoo
from atalla_mlir.host.verify import verify

NETWORKS = {
    "vit_micro": {},
    "vit_b16": {"depth": 1, "dim": 64, "heads": 2, "hidden": 128, "size": 64, "classes": 40},
    "bert_base": {"depth": 1, "dim": 64, "heads": 2, "hidden": 128, "vocabulary": 300, "length": 33},
    "gpt2_small": {"depth": 1, "dim": 64, "heads": 2, "vocabulary": 300, "length": 33},
    "llama": {"layers": 1, "length": 17},
    "lstm": {"length": 3},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    report = verify(*zoo.build(name, **NETWORKS[name]))
    assert report.ok, str(report)
    assert report.totals.cosine_f32 > 0.998
