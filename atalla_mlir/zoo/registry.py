"""The zoo's list of models and how one is built by name."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import nn

from atalla_mlir.errors import BadInputError

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]
Factory = Callable[..., Built]

# name -> "module:factory"; a module is imported when one of its models is asked for
MODELS = MappingProxyType(
    {
        "basic": "atalla_mlir.zoo.perceptrons:basic",
        "mlp": "atalla_mlir.zoo.perceptrons:mlp",
        "attention": "atalla_mlir.zoo.attention:attention",
        "trace": "atalla_mlir.zoo.attention:trace",
        "alexnet_small": "atalla_mlir.zoo.convolutional:alexnet_small",
        "alexnet": "atalla_mlir.zoo.convolutional:alexnet",
        "vgg11": "atalla_mlir.zoo.convolutional:vgg11",
        "squeezenet": "atalla_mlir.zoo.convolutional:squeezenet",
        "resnet18": "atalla_mlir.zoo.residual:resnet18",
        "resnet50": "atalla_mlir.zoo.residual:resnet50",
        "mobilenet_v2": "atalla_mlir.zoo.residual:mobilenet_v2",
        "vit_micro": "atalla_mlir.zoo.vision_transformers:vit_micro",
        "vit_b16": "atalla_mlir.zoo.vision_transformers:vit_b16",
        "bert_base": "atalla_mlir.zoo.language:bert_base",
        "gpt2_small": "atalla_mlir.zoo.language:gpt2_small",
        "llama": "atalla_mlir.zoo.llama:llama",
        "lstm": "atalla_mlir.zoo.recurrent:lstm",
    }
)


def names() -> tuple[str, ...]:
    """The names that `build` knows, sorted."""
    return tuple(sorted(MODELS))


def factory(name: str) -> Factory:
    """The function that builds model `name`."""
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean '{nearest[0]}'" if nearest else f"models: {', '.join(names())}"
        raise BadInputError(f"no model '{name}' in the zoo; {hint}")
    module, function = MODELS[name].split(":")
    return getattr(importlib.import_module(module), function)


def describe(name: str) -> str:
    """One line about model `name`: its arguments with defaults and the first line of its docstring."""
    function = factory(name)
    arguments = ", ".join(f"{p.name}={p.default}" for p in inspect.signature(function).parameters.values())
    return f"{name}({arguments}): {inspect.getdoc(function).splitlines()[0]}"  # pyright: ignore[reportOptionalMemberAccess]


def build(name: str, *, seed: int = 0, **arguments: object) -> Built:
    """Model `name` in eval mode and its example inputs, the same values for the same `seed` and arguments."""
    function = factory(name)
    known = inspect.signature(function).parameters
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadInputError(f"model '{name}' has no argument '{unknown[0]}'; arguments: {', '.join(known) or 'none'}")
    for argument, value in arguments.items():
        if isinstance(known[argument].default, int):
            _require_positive(argument, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, inputs = function(**arguments)
    return module.eval(), inputs


def _require_positive(argument: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise BadInputError(f"{argument}={value!r}: expected an integer of at least 1")
