"""Where the rules of decomposition are collected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten

Rule = Callable[..., Any]
Table = dict[Any, Rule]

RULES: Table = {}
"""Overload -> rule, filled by importing the modules of this package."""


def rule(*overloads: Any) -> Callable[[Rule], Rule]:
    """Register a function as what the overloads are made of; it may return NotImplemented to keep one whole."""

    def register(function: Rule) -> Rule:
        for overload in overloads:
            RULES[overload] = function
        return function

    return register
