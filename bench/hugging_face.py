"""Architectures of the transformers package, small and with random weights: verified, with what falls back and why.

    python -m bench.hugging_face [NAME ...]

Needs the extra `transformers`. The exit code is 1 when a model is refused, or a kernel is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from atalla_mlir.errors import AtallaError
from atalla_mlir.frontend.torchvision_operators import import_for_others
from atalla_mlir.host.verify import verify

WORDS = 12
_DECODER = {
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

    def forward(self, given: Tensor) -> Tensor:
        return self.model(given, return_dict=False)[0]


@dataclass(frozen=True)
class Architecture:
    """A configuration and the class of the package that makes a model of it."""

    configuration: str
    model: str
    sizes: Mapping[str, Any]
    pixels: int = 0
    """Side of the images that it takes; 0 for words."""

    def build(self) -> nn.Module:
        import_for_others()
        import transformers

        configuration = getattr(transformers, self.configuration)(**self.sizes)
        return FirstResult(getattr(transformers, self.model)(configuration)).eval()

    def inputs(self) -> tuple[Tensor, ...]:
        if self.pixels:
            return (torch.randn(1, 3, self.pixels, self.pixels),)
        return (torch.randint(4, self.sizes.get("vocab_size", 96), (1, WORDS)),)


def _cached(**more: Any) -> dict[str, Any]:
    return {**_DECODER, "use_cache": False, **more}


ARCHITECTURES: Mapping[str, Architecture] = {
    "ALBERT": Architecture("AlbertConfig", "AlbertModel", {**_DECODER, "embedding_size": 32}),
    "BLOOM": Architecture(
        "BloomConfig",
        "BloomForCausalLM",
        {"hidden_size": 64, "n_layer": 1, "n_head": 2, "vocab_size": 96, "use_cache": False},
    ),
    "ConvBERT": Architecture(
        "ConvBertConfig", "ConvBertModel", {**_DECODER, "embedding_size": 64, "conv_kernel_size": 5}
    ),
    "DeBERTa-v2": Architecture(
        "DebertaV2Config", "DebertaV2Model", {**_DECODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    ),
    "DeiT": Architecture("DeiTConfig", "DeiTModel", {**_DECODER, "image_size": 32, "patch_size": 8}, pixels=32),
    "DistilBERT": Architecture(
        "DistilBertConfig",
        "DistilBertModel",
        {"dim": 64, "hidden_dim": 96, "n_layers": 1, "n_heads": 2, "vocab_size": 96, "max_position_embeddings": 64},
    ),
    "ELECTRA": Architecture("ElectraConfig", "ElectraModel", {**_DECODER, "embedding_size": 64}),
    "Falcon": Architecture(
        "FalconConfig",
        "FalconForCausalLM",
        {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 96, "use_cache": False},
    ),
    "Gemma": Architecture("GemmaConfig", "GemmaForCausalLM", _cached(num_key_value_heads=1, head_dim=32)),
    "GPT-NeoX": Architecture("GPTNeoXConfig", "GPTNeoXForCausalLM", _cached()),
    "Mistral": Architecture("MistralConfig", "MistralForCausalLM", _cached(num_key_value_heads=1)),
    "Mixtral": Architecture("MixtralConfig", "MixtralForCausalLM", _cached(num_key_value_heads=1, num_local_experts=2)),
    "OPT": Architecture(
        "OPTConfig",
        "OPTForCausalLM",
        {
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 96,
            "vocab_size": 96,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 64,
            "use_cache": False,
        },
    ),
    "Phi": Architecture("PhiConfig", "PhiForCausalLM", _cached()),
    "Phi-3": Architecture(
        "Phi3Config",
        "Phi3ForCausalLM",
        _cached(num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    ),
    "Qwen2": Architecture("Qwen2Config", "Qwen2ForCausalLM", _cached(num_key_value_heads=1)),
    "RoBERTa": Architecture("RobertaConfig", "RobertaModel", {**_DECODER, "max_position_embeddings": 70}),
    "SqueezeBERT": Architecture("SqueezeBertConfig", "SqueezeBertModel", {**_DECODER, "embedding_size": 64}),
    "Swin": Architecture(
        "SwinConfig",
        "SwinModel",
        {"image_size": 32, "patch_size": 4, "embed_dim": 32, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4},
        pixels=32,
    ),
    "T5 encoder": Architecture(
        "T5Config",
        "T5EncoderModel",
        {"d_model": 64, "d_kv": 32, "d_ff": 96, "num_layers": 1, "num_heads": 2, "vocab_size": 96},
    ),
}


@dataclass(frozen=True)
class Row:
    """What became of one architecture: why operations ran on the host, or why it does not compile."""

    name: str
    kernels: int = 0
    cosine: float = 0.0
    ok: bool = False
    host: tuple[str, ...] = ()
    refusal: str = ""


def measure(name: str) -> Row:
    """Verify one architecture."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    try:
        report = verify(architecture.build(), architecture.inputs())
    except AtallaError as error:
        return Row(name, refusal=str(error).splitlines()[0])
    kernels = sum(row.device != "host" for row in report.ops)
    host = tuple(dict.fromkeys(row["reason"] for row in report.totals.host_ops))
    return Row(name, kernels, report.totals.cosine_f32, report.ok, host)


def table(rows: Sequence[Row]) -> Table:
    found = Table(box=None, pad_edge=False)
    for heading, side in (("architecture", "left"), ("kernels", "right"), ("cosine to float32", "right")):
        found.add_column(heading, justify=side)  # pyright: ignore[reportArgumentType]
    found.add_column("kernels within bounds")
    found.add_column("on the host")
    for row in rows:
        if row.refusal:
            found.add_row(row.name, "", "", "does not compile", row.refusal)
        else:
            verdict = "all" if row.ok else "no"
            found.add_row(row.name, str(row.kernels), f"{row.cosine:.5f}", verdict, "; ".join(row.host) or "nothing")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.hugging_face", description="Architectures of transformers, verified.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(ARCHITECTURES)}")
    names = parser.parse_args(argv).names or list(ARCHITECTURES)
    unknown = [name for name in names if name not in ARCHITECTURES]
    if unknown:
        parser.error(f"no architecture '{unknown[0]}'; there are {', '.join(ARCHITECTURES)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows = [measure(name) for name in names]
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table(rows))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
