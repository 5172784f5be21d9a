"""Exceptions of PyTorch without what it prints and logs beside them."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_failure() -> Iterator[None]:
    """What PyTorch prints and logs about a failed export is said by the exception that follows, without tracebacks."""
    before = logging.root.manager.disable
    printed = io.StringIO()
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(printed):
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        logging.disable(before)
