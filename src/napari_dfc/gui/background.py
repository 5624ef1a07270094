"""Work in a thread beside the window: the worker, and how what went wrong in it is told."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QThreadPool

__all__ = ["CancellableWorker", "EngineError", "Progress", "Refusal", "in_background", "told"]

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


def in_background(work: Callable[[], _Returned], done: Callable[[_Returned | Refusal], None]) -> CancellableWorker:
    """Do something short in a thread, and then something with its outcome in the main thread.

    Parameters
    ----------
    work : callable
        What it raises becomes a `Refusal`.
    done : callable
        Takes what `work` returned; not called once the worker was told to quit.

    Returns
    -------
    CancellableWorker
        It has started.
    """

    def steps() -> Generator[None, None, _Returned]:
        yield
        return work()

    def begin() -> Generator[None, None, _Returned | Refusal]:
        return (yield from told(steps()))

    worker: CancellableWorker = create_worker(begin, _worker_class=CancellableWorker, _start_thread=False)
    worker.call_off = lambda: None
    worker.returned.connect(done)
    worker.errored.connect(lambda error: done(Refusal(str(error))))
    worker.start()
    return worker


def told(work: Generator[_Yielded, None, _Returned]) -> Generator[_Yielded, None, _Returned | Refusal]:
    """The same work, which returns what the user can put right in words."""
    try:
        return (yield from work)
    except (ValueError, TypeError, ImportError, MemoryError, OSError) as error:
        return Refusal(str(error))
    except RuntimeError as error:  # of which napari's workers would make a warning, and never end
        raise EngineError(str(error)) from error
