"""What says, in the middle of a computation, that nobody waits for it any more."""

from __future__ import annotations

__all__ = ["Cancelled"]


class Cancelled(Exception):
    """The computation was called off in the middle."""
