"""What there is to compute with, what was chosen and why, and how PyTorch is asked to behave meanwhile."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_dfc.settings import Precision

if TYPE_CHECKING:
    import torch

__all__ = [
    "Device",
    "as_torch_device",
    "choose_device",
    "computing",
    "describe_devices",
    "has_bfloat16",
    "is_out_of_memory",
    "load_torch",
    "release_memory",
    "torch_is_loaded",
    "total_memory",
]


#: How long threads of GNU OpenMP, PyTorch's on Linux, spin before they sleep, and the number of rounds we ask for.
SPIN_VARIABLE, SPIN_COUNT = "GOMP_SPINCOUNT", "1000"


#: PyTorch's words for the precision of products, for each of its libraries.
Precisions = dict[str, str]


@dataclass(frozen=True)
class Device:
    """A device to compute on.

    Parameters
    ----------
    name : {"cuda", "mps", "cpu"}
        PyTorch's name for it.
    title : str
        What it is, for people.
    reason : str
        Why it was chosen, in words.
    """

    name: str
    title: str
    reason: str

    def __str__(self) -> str:
        return f"{self.title} ({self.reason})"


def load_torch() -> Any:
    """Import PyTorch, which takes a second or two the first time.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        PyTorch is missing or cannot be loaded; the message says what to do.
    """
    try:
        with _short_spins():
            return importlib.import_module("torch")
    except OSError as error:  # Windows raises it where a library of PyTorch's fails to start
        raise ImportError(
            f"PyTorch is installed but Windows or the system could not load it ({error}). Reinstall it with "
            '"pip install --force-reinstall torch"; on Windows also install the Microsoft Visual C++ Redistributable, '
            "and if it fails only inside napari, start napari from a console in which "
            "\"python -c 'import torch'\" works"
        ) from error


@contextmanager
def _short_spins() -> Iterator[None]:
    """While PyTorch is loaded, ask its threads not to spin for long before they sleep, unless the user says how long.

    A thread that waits for the others spins for a while first. Where other programs, or the window, want the same
    cores, that time is taken from the very thread it waits for: with one busy program on two cores an iteration took
    six times as long. GNU OpenMP, which PyTorch has on Linux, reads this once, when it is loaded.
    """
    if torch_is_loaded() or SPIN_VARIABLE in os.environ:
        yield
        return
    os.environ[SPIN_VARIABLE] = SPIN_COUNT
    try:
        yield
    finally:
        del os.environ[SPIN_VARIABLE]


def torch_is_loaded() -> bool:
    """Whether PyTorch has been imported already."""
    return "torch" in sys.modules


def choose_device(wanted: str = "auto") -> Device:
    """The device to compute on, with the reason.

    Parameters
    ----------
    wanted : {"auto", "cuda", "mps", "cpu"}
        "auto" takes CUDA before MPS before the CPU.

    Returns
    -------
    Device

    Raises
    ------
    ValueError
        The device asked for is not there.

    Examples
    --------
    >>> print(choose_device("cpu").reason)
    as asked for
    """
    missing = _missing()
    if wanted != "auto":
        if missing.get(wanted):
            raise ValueError(f"device is {wanted!r}, but {missing[wanted]}; accepted here: {_accepted(missing)}")
        return Device(wanted, _title(wanted), "as asked for")
    for name in ("cuda", "mps"):
        if not missing[name]:
            return Device(name, _title(name), "the fastest device that PyTorch can use here")
    return Device("cpu", _title("cpu"), f"{missing['cuda']}; {missing['mps']}")


def describe_devices() -> list[tuple[str, str]]:
    """Every kind of device and what was found of it.

    Returns
    -------
    list of (name, description)

    Examples
    --------
    >>> [name for name, _ in describe_devices()]
    ['cuda', 'mps', 'cpu']
    """
    missing = _missing()
    return [(name, missing.get(name) or _title(name)) for name in ("cuda", "mps", "cpu")]


def has_bfloat16(device: Device) -> bool:
    """Whether a device multiplies in bfloat16 faster than in float32.

    Parameters
    ----------
    device : Device

    Examples
    --------
    >>> has_bfloat16(Device("mps", "Apple GPU", "as asked for"))
    False
    """
    torch = load_torch()
    if device.name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.name == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


@contextmanager
def computing(
    device: Device,
    threads: int = 0,
    repeatable: bool = False,
    spare_a_core: bool = False,
    precision: Precision = "auto",
) -> Iterator[int]:
    """Set PyTorch up for a computation in this thread, and leave it as it was found.

    Parameters
    ----------
    device : Device
    threads : int
        Processor threads; 0 takes as many as PyTorch would by itself.
    repeatable : bool
        On CUDA, only algorithms that give the same result bit for bit.
    spare_a_core : bool
        One thread fewer where there are four or more, unless their number is given.
    precision : {"auto", "float32", "bfloat16"}
        Of matrix products and convolutions of float32 numbers.

    Yields
    ------
    int
        Processor threads in use.
    """
    torch = load_torch()
    flags = torch.backends.cudnn
    deterministic, benchmark = flags.deterministic, flags.benchmark
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = _enter(torch.get_num_threads())
    torch.set_num_threads(threads or (before - 1 if spare_a_core and before >= 4 else before))
    _set_product_precisions(_wanted_precisions(device, precision))
    if repeatable and device.name == "cuda":
        flags.deterministic, flags.benchmark = True, False
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.enable_grad():
            yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        _leave()
        flags.deterministic, flags.benchmark = deterministic, benchmark
        if repeatable and device.name == "cuda":
            torch.use_deterministic_algorithms(strict, warn_only=warns)


# PyTorch hands the number of threads that one thread sets on to threads that start later, and the precision of products
# is one for all threads: what computations that run side by side have to go back to is what the first of them found.
_lock = threading.Lock()
_computing = 0
_threads_found = 0
_products_found: Precisions = {}


def _enter(threads: int) -> int:
    """Processor threads without any computation under way."""
    global _computing, _threads_found, _products_found
    with _lock:
        if not _computing:
            _threads_found, _products_found = threads, _product_precisions()
        _computing += 1
        return _threads_found


def _leave() -> None:
    """The last computation under way puts the precision of products back."""
    global _computing
    with _lock:
        _computing -= 1
        if not _computing:
            _set_product_precisions(_products_found)


def _product_backends() -> dict[str, Any]:
    """Where PyTorch keeps the precision in which it multiplies float32 numbers."""
    backends = load_torch().backends
    return {"cpu": backends.mkldnn.matmul, "cuda": backends.cuda.matmul, "cudnn": backends.cudnn.conv}


def _product_precisions() -> Precisions:
    return {name: backend.fp32_precision for name, backend in _product_backends().items()}


def _set_product_precisions(precisions: Precisions) -> None:
    for name, backend in _product_backends().items():
        if name in precisions and backend.fp32_precision != precisions[name]:
            backend.fp32_precision = precisions[name]


def _wanted_precisions(device: Device, precision: Precision) -> Precisions:
    """What to ask PyTorch for; nothing where it is right as it is."""
    if device.name == "cuda":
        asked = "ieee" if precision == "float32" else "tf32"
        return {"cuda": asked, "cudnn": asked}
    if device.name == "cpu" and has_bfloat16(device):
        return {"cpu": "bf16" if precision == "bfloat16" else "ieee"}
    return {}


def total_memory(device: Device) -> float:
    """The memory of a device in bytes; infinite where the system does not say.

    Parameters
    ----------
    device : Device
        MPS shares the computer's.

    Examples
    --------
    >>> total_memory(choose_device("cpu")) > 1e8
    True
    """
    if device.name == "cuda":
        return float(load_torch().cuda.get_device_properties(0).total_memory)
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(os.sysconf_names):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if sys.platform == "win32":
        return _windows_memory()
    return float("inf")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on whatever device.

    Parameters
    ----------
    error : Exception

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("MPS backend out of memory"))
    True
    """
    if isinstance(error, MemoryError | load_torch().OutOfMemoryError):
        return True
    said = str(error).lower()  # MPS, the CPU's allocator and CUDA's libraries have no class of their own
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(each in said for each in words)


def release_memory(device: Device) -> None:
    """Give memory that no tensor uses back to the device, for other programs.

    Parameters
    ----------
    device : Device
    """
    if device.name == "cuda":
        load_torch().cuda.empty_cache()
    elif device.name == "mps":
        load_torch().mps.empty_cache()


def as_torch_device(device: Device) -> torch.device:
    """The same device as PyTorch's own object."""
    return load_torch().device(device.name)  # type: ignore[no-any-return]


def _windows_memory() -> float:
    """Installed memory in bytes, as Windows tells it."""
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    found = ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))  # type: ignore[attr-defined]
    return kilobytes.value * 1024.0 if found else float("inf")


def _missing() -> dict[str, str]:
    """Why each kind of accelerator cannot be used, empty where it can."""
    torch = load_torch()
    cuda = mps = ""
    if not torch.backends.cuda.is_built():
        cuda = "this PyTorch is a build without CUDA"
    elif not torch.cuda.is_available():
        cuda = "PyTorch finds no CUDA device"
    if not torch.backends.mps.is_built():
        mps = "no MPS outside macOS" if platform.system() != "Darwin" else "this PyTorch is a build without MPS"
    elif not torch.backends.mps.is_available():
        mps = "PyTorch finds no MPS device"
    return {"cuda": cuda, "mps": mps}


def _accepted(missing: dict[str, str]) -> str:
    return ", ".join(["auto", *(name for name in ("cuda", "mps") if not missing[name]), "cpu"])


def _title(name: str) -> str:
    torch = load_torch()
    if name == "cuda":
        return f"CUDA: {torch.cuda.get_device_name()}"
    if name == "mps":
        return "MPS: Apple graphics processor"
    number = torch.get_num_threads()
    return f"CPU: {number} thread{'s' * (number != 1)}"
