"""Work in a thread beside the window: the worker, and how what went wrong in it is told."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from napari.qt.threading import GeneratorWorker
from qtpy.QtCore import QThreadPool

__all__ = ["CancellableWorker", "EngineError", "Progress", "Refusal", "told"]

_Yielded = TypeVar("_Yielded")
_Returned = TypeVar("_Returned")


@dataclass(frozen=True)
class Progress:
    """How far some work is.

    Parameters
    ----------
    done, total : int
        Steps made, and the largest number there can be: updates of a network, or planes.
    words : str
        For people.
    shown : object, optional
        Something to show, now and then; a label map (H, W) in a run.
    """

    done: int
    total: int
    words: str
    shown: Any = None


@dataclass(frozen=True)
class Refusal:
    """Why some work gave no result."""

    reason: str


class EngineError(Exception):
    """PyTorch failed in the middle of the work."""


class CancellableWorker(GeneratorWorker):
    """A worker whose `quit`, which napari calls when it closes, also ends the computation in progress.

    It leaves Qt's pool of threads as large as it was: Qt 5 draws the window with that pool's help, holding Python's
    lock, and would wait forever for a thread where as many runs go on as there are cores.
    """

    call_off: Callable[[], None]

    def run(self) -> None:
        """Work, in a thread of the pool that the pool does not count."""
        pool = QThreadPool.globalInstance()
        pool.releaseThread()
        try:
            super().run()
        finally:
            pool.reserveThread()

    def quit(self) -> None:
        """End at the next yield, and the computation in progress at once."""
        super().quit()
        self.call_off()


def told(work: Generator[_Yielded, None, _Returned]) -> Generator[_Yielded, None, _Returned | Refusal]:
    """The same work, which returns what the user can put right in words."""
    try:
        return (yield from work)
    except (ValueError, TypeError, ImportError, MemoryError, OSError) as error:
        return Refusal(str(error))
    except RuntimeError as error:  # of which napari's workers would make a warning, and never end
        raise EngineError(str(error)) from error
