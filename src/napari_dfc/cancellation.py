"""What says that a computation was called off, or that it is too early to ask for its result."""

from __future__ import annotations

__all__ = ["Cancelled", "NoResultYet"]


class Cancelled(Exception):
    """The computation was called off in the middle."""


class NoResultYet(RuntimeError):
    """Not one iteration has ended."""
