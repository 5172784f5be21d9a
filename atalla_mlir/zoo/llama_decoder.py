"""The llama decoder word by word: a prompt first, then one word a call, with keys and values kept in buffers.

The buffers are state of a compiled program: both calls are entry points that change them in the device's memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.errors import BadInputError
from atalla_mlir.zoo.llama import GroupedAttention, Layer, Llama, rotated
from atalla_mlir.zoo.transformer_parts import joined_heads, split_heads


class CachedAttention(nn.Module):
    """`GroupedAttention` over the keys and values of all words so far, which stay in `keys` and `values`."""

    keys: Tensor
    values: Tensor

    def __init__(self, attention: GroupedAttention, batch: int, positions: int) -> None:
        super().__init__()
        self.inner = attention
        width = attention.key.out_features // attention.key_heads
        for name in ("keys", "values"):
            empty = torch.zeros(batch, attention.key_heads, positions, width, dtype=attention.key.weight.dtype)
            self.register_buffer(name, empty, persistent=False)

    def prompt(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """[batch, length, dim] -> the same, each word seeing those before it; the cache starts with these words."""
        query, key, value = self._projected(x, cosines, sines)
        self.keys[:, :, : x.shape[1]] = key
        self.values[:, :, : x.shape[1]] = value
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self.inner.output(joined_heads(mixed))

    def step(self, x: Tensor, cosines: Tensor, sines: Tensor, place: Tensor, seen: Tensor) -> Tensor:
        """[batch, 1, dim] -> the same, for the word at `place`; `seen` says which places of the cache hold words."""
        query, key, value = self._projected(x, cosines, sines)
        self.keys.index_copy_(2, place, key)
        self.values.index_copy_(2, place, value)
        mixed = functional.scaled_dot_product_attention(query, self.keys, self.values, attn_mask=seen, enable_gqa=True)
        return self.inner.output(joined_heads(mixed))

    def _projected(self, x: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inner = self.inner
        query = rotated(split_heads(inner.query(x), inner.heads), cosines, sines)
        key = rotated(split_heads(inner.key(x), inner.key_heads), cosines, sines)
        return query, key, split_heads(inner.value(x), inner.key_heads)


class CachedLayer(nn.Module):
    """A layer of the model whose attention has a cache."""

    def __init__(self, layer: Layer, batch: int, positions: int) -> None:
        super().__init__()
        self.inner = layer
        self.attention = CachedAttention(layer.attention, batch, positions)

    def prompt(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """See `CachedAttention.prompt`."""
        x = x + self.attention.prompt(self.inner.norm1(x), cosines, sines)
        return x + self.inner.mlp(self.inner.norm2(x))

    def step(self, x: Tensor, cosines: Tensor, sines: Tensor, place: Tensor, seen: Tensor) -> Tensor:
        """See `CachedAttention.step`."""
        x = x + self.attention.step(self.inner.norm1(x), cosines, sines, place, seen)
        return x + self.inner.mlp(self.inner.norm2(x))


class LlamaDecoder(nn.Module):
    """Greedy decoding: `prompt` takes the first words, `step` one more; both give the next word and its logits."""

    count: Tensor

    def __init__(self, model: Llama, batch: int = 1) -> None:
        super().__init__()
        self.model = model
        self.positions = model.cosines.shape[0]
        layers = [layer for layer in model.layers if isinstance(layer, Layer)]
        self.layers = nn.ModuleList([CachedLayer(layer, batch, self.positions) for layer in layers])
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64), persistent=False)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Next words [batch, 1] and logits [batch, vocabulary] after `words` [batch, length], which start a text."""
        length = words.shape[1]
        if length > self.positions:
            raise BadInputError(f"{length} words do not fit into the cache of {self.positions}")
        tables = self.model.cosines[:length], self.model.sines[:length]
        x = self.model.words(words)
        for layer in self._cached():
            x = layer.prompt(x, *tables)
        self.count.fill_(length)
        return self._chosen(x[:, -1:])

    def step(self, word: Tensor) -> tuple[Tensor, Tensor]:
        """Next words and logits after one more `word` [batch, 1]."""
        tables = self.model.cosines.index_select(0, self.count), self.model.sines.index_select(0, self.count)
        seen = torch.arange(self.positions) <= self.count
        x = self.model.words(word)
        for layer in self._cached():
            x = layer.step(x, *tables, self.count, seen.view(1, 1, 1, -1))
        self.count.add_(1)
        return self._chosen(x)

    def _cached(self) -> list[CachedLayer]:
        return [layer for layer in self.layers if isinstance(layer, CachedLayer)]

    def _chosen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model.head(self.model.norm(x))[:, 0]
        return logits.argmax(-1, keepdim=True), logits
