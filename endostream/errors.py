"""The errors a user can meet; each message says what is wrong and what to do, in one line.

Owns the exit codes. Must not know who raises or prints them.
"""

from __future__ import annotations


class EndostreamError(Exception):
    """The common parent; `exit_code` is what a command ends with."""

    exit_code = 1


class InputError(EndostreamError):
    """Wrong use, or input that cannot be analysed: nothing was started."""

    exit_code = 2


class RunError(EndostreamError):
    """A failure while running: disk full, device lost, a sink that failed."""

    exit_code = 1


class SourceError(InputError):
    """A source that cannot be opened or holds no picture that can be analysed."""


class PackError(InputError):
    """A pack or checkpoint that is missing, damaged, unknown or not what it claims to be."""
