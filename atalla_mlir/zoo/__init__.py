"""Models to try things on: `build("mlp", hidden=64)` gives a module with seeded weights and example inputs."""

from __future__ import annotations

from atalla_mlir.zoo.registry import MODELS, build, describe, names

__all__ = ["MODELS", "build", "describe", "names"]
