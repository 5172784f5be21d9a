"""What the tools that read models share: usage errors, error reports, exit statuses, progress."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TextIO

from atalla_mlir.errors import AtallaError

SUCCESS = 0
FAILED = 1
WRONG_USAGE = 2
DIFFERENT = 3
"""Exit statuses; DIFFERENT is a run whose verification found a wrong result."""

EXIT_STATUS_HELP = "exit status: 0 success, 1 failed, 2 wrong usage"

_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG})
"""Errors of writing, which name no file."""


class UsageError(Exception):
    """The command line is wrong."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit."""

    def __init__(self, program: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def run(
    program: str,
    body: Callable[[], int],
    argv: Sequence[str] | None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """The exit status of `body`, which prints to the given streams (default: the process's).

    An exception becomes one line on stderr, and with --debug in `argv` a traceback.
    """
    with contextlib.redirect_stdout(stdout or sys.stdout), contextlib.redirect_stderr(stderr or sys.stderr):
        try:
            return body()
        except SystemExit as finished:  # argparse has printed its help
            return int(finished.code or SUCCESS)
        except UsageError as error:
            print(f"{program}: error: {error}; see {program} --help", file=sys.stderr)
            return WRONG_USAGE
        except BrokenPipeError:
            return FAILED
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            return FAILED
        except Exception as error:
            if "--debug" in (sys.argv[1:] if argv is None else argv):
                traceback.print_exc(file=sys.stderr)
            print(f"{program}: error: {_text(error)}", file=sys.stderr)
            return FAILED


def _text(error: Exception) -> str:
    if isinstance(error, AtallaError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return os.strerror(error.errno).lower()
    return f"internal error: {type(error).__name__}: {error}; --debug shows where"


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that says what is being done: on a terminal, a line that changes; elsewhere, nothing."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
