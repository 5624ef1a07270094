"""Work in a thread beside the window: the worker, a run in a viewer, and how what went wrong is told."""

from __future__ import annotations

import atexit
import io
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils import cancelable_progress
from psygnal import Signal
from qtpy.QtCore import QThreadPool

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["CancellableWorker", "EngineError", "Progress", "Refusal", "ViewerRun", "in_background", "told"]

#: Longest time that a process which ends waits for its threads, in seconds.
LAST_WAIT = 20.0

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
    over: threading.Event

    def start(self) -> None:
        """Begin, in a thread."""
        self.over = threading.Event()
        _started.add(self)
        super().start()

    def run(self) -> None:
        """Work, in a thread of the pool that the pool does not count."""
        pool = QThreadPool.globalInstance()
        pool.releaseThread()
        try:
            super().run()
        finally:
            pool.reserveThread()
            _started.discard(self)
            self.over.set()

    def quit(self) -> None:
        """End at the next yield, and the computation in progress at once."""
        super().quit()
        self.call_off()


_started: set[CancellableWorker] = set()


@atexit.register
def _end_all() -> None:
    """End all work when a script ends: a thread that goes on would meet objects of Qt that are gone."""
    until = time.monotonic() + LAST_WAIT
    started = list(_started)
    for worker in started:
        worker.quit()
    for worker in started:
        worker.over.wait(max(until - time.monotonic(), 0))


class ViewerRun:
    """Work in a viewer that goes on in a thread, until it ends or `stop` ends it; to be used from the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    total : int
        Steps, for napari's activity dock.
    title : str
        What it says there.

    Attributes
    ----------
    progressed : psygnal.Signal
        Emits a `Progress`.
    ended : psygnal.Signal
        Emits the outcome in words, once.
    outcome : str
        How it ended, in words; empty while it goes on.
    """

    progressed = Signal(object)
    ended = Signal(str)

    def __init__(self, viewer: ViewerModel, total: int, title: str) -> None:
        self.viewer = viewer
        self.outcome = ""
        self._called_off = False
        self._begin_activity(total, title)

    def _begin_activity(self, total: int, title: str) -> None:
        self._activity = cancelable_progress(
            total=total,
            desc=title,
            cancel_callback=self.stop,
            file=io.StringIO(),  # napari's activity dock shows it; the terminal is not ours
        )

    @property
    def running(self) -> bool:
        """Whether it still goes on."""
        return not self.outcome

    @abstractmethod
    def stop(self) -> None:
        """End at once, and keep what there is; does nothing once it has ended."""

    @abstractmethod
    def _steps(self) -> Generator[Progress, None, Any]:
        """What is done in the thread."""

    @abstractmethod
    def _take(self, progress: Progress) -> None:
        """Show what a step gave."""

    @abstractmethod
    def _finish(self, found: Any) -> None:
        """Show what the work gave, or a `Refusal`."""

    @abstractmethod
    def _follow_removal(self, event: Any) -> None:
        """A layer of the viewer was deleted."""

    def _launch(self) -> None:
        self._worker = create_worker(self._work, _worker_class=CancellableWorker, _start_thread=False)
        self._worker.call_off = self._call_off
        self._worker.yielded.connect(self._take)
        self._worker.returned.connect(self._finish)
        self._worker.errored.connect(self._fail)
        self.viewer.layers.events.removed.connect(self._follow_removal)
        self._worker.start()

    def _work(self) -> Generator[Progress, None, Any]:
        """The generator that the worker runs."""
        return (yield from told(self._steps()))

    def _report(self, progress: Progress) -> None:
        if self.running:
            self.progressed.emit(progress)
            # last, because it lets napari process events: the run may have ended when it returns
            self._activity.update(progress.done - self._activity.n)

    def _fail(self, error: Exception) -> None:
        self._end(f"Failed: {error}")

    def _call_off(self) -> None:
        self._called_off = True

    def _tidy(self) -> None:
        """What is to be done before the outcome is told."""

    def _end(self, outcome: str) -> None:
        if not self.running:
            return
        self.outcome = outcome
        self.viewer.layers.events.removed.disconnect(self._follow_removal)
        self._tidy()
        self._activity.close()
        self.ended.emit(outcome)


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
