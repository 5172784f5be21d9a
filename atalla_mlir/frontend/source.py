"""Where in the model's code a node comes from, by paths that are the same on every machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import fx

_TORCH_ROOT = torch.__path__[0] + os.sep
_FRAME = re.compile(r'File "([^"]+)", line ([0-9]+)')
_INSTALLED = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")


def source_lines(graph: fx.Graph) -> dict[str, str]:
    """Node name -> `file.py:line`: the innermost frame that is not PyTorch's own.

    Files of installed packages are named from their package on, the others from their common folder on.
    """
    frames = {node.name: frame for node in graph.nodes if (frame := _own_frame(node.meta.get("stack_trace")))}
    root = _common_folder(file for file, _ in frames.values() if not _INSTALLED.match(file))
    return {name: f"{_relative(file, root)}:{line}" for name, (file, line) in frames.items()}


def _own_frame(stack_trace: str | None) -> tuple[str, str] | None:
    frames = _FRAME.findall(stack_trace or "")
    # a file that is not absolute is code that PyTorch generated
    own = [frame for frame in frames if os.path.isabs(frame[0]) and not frame[0].startswith(_TORCH_ROOT)]
    return own[-1] if own else None


def _common_folder(files: Iterable[str]) -> str:
    folders = sorted({os.path.dirname(file) for file in files})
    return os.path.commonpath(folders) if folders else ""


def _relative(file: str, root: str) -> str:
    installed = _INSTALLED.match(file)
    if installed:
        return Path(file[installed.end() :]).as_posix()
    return Path(os.path.relpath(file, root) if root else file).as_posix()
