"""Every error that atalla-mlir raises on purpose.

The children are the taxonomy that users see: what is wrong is in the class, where and why is in the message
(lower case, no full stop, the value that came, the way out if there is one).
"""

from __future__ import annotations

__all__ = [
    "AtallaError",
    "BadInputError",
    "ConfigurationError",
    "InternalError",
    "LimitError",
    "UnsupportedError",
]


class AtallaError(Exception):
    """Base of all errors of this package; tools print its text without a traceback."""

    category = "error"


class BadInputError(AtallaError):
    """What the user handed in is malformed or damaged: a file, a tensor, an option value."""

    category = "bad input"


class UnsupportedError(AtallaError):
    """A valid request that this compiler or machine does not do."""

    category = "unsupported"


class LimitError(AtallaError):
    """A valid request that exceeds a size of the machine or of a format."""

    category = "limit exceeded"


class ConfigurationError(AtallaError):
    """The installation or environment lacks something: an extra, a device, a compiler."""

    category = "configuration"


class InternalError(AtallaError):
    """A bug in this package: an invariant of ours does not hold."""

    category = "internal error"
