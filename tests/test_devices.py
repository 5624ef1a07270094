from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading

import pytest
import torch

from napari_dfc.devices import (
    Device,
    as_torch_device,
    choose_device,
    computing,
    describe_devices,
    is_out_of_memory,
    load_torch,
)
from napari_dfc.settings import Precision

CPU = Device("cpu", "CPU", "for the test")


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    for backend, there in ((torch.backends.cuda, cuda), (torch.backends.mps, mps)):
        monkeypatch.setattr(backend, "is_built", lambda there=there: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_takes_cuda_before_mps_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=True)
    assert str(choose_device()) == "CUDA: a card (the fastest device that PyTorch can use here)"
    pretend(monkeypatch, cuda=False, mps=True)
    assert choose_device().name == "mps"
    pretend(monkeypatch, cuda=False, mps=False)
    assert choose_device().name == "cpu"
    assert "this PyTorch is a build without CUDA" in choose_device().reason


def test_a_build_with_cuda_but_no_card_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device().reason == "PyTorch finds no CUDA device; PyTorch finds no MPS device"
    assert dict(describe_devices())["cuda"] == "PyTorch finds no CUDA device"


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ValueError, match=r"device is 'cuda', but this PyTorch .*; accepted here: auto, cpu"):
        choose_device("cuda")


@pytest.mark.parametrize(("threads", "title"), [(1, "CPU: 1 thread"), (2, "CPU: 2 threads")])
def test_a_device_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch, threads: int, title: str) -> None:
    pretend(monkeypatch, cuda=True, mps=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert choose_device("cpu") == Device("cpu", title, "as asked for")
    assert as_torch_device(choose_device("cpu")) == torch.device("cpu")


def test_torch_that_fails_to_load_is_an_import_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("[WinError 1114] c10.dll")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError, match=r"c10\.dll.*Reinstall it.*Visual C\+\+") as caught:
        load_torch()
    assert "\n" not in str(caught.value)


def test_computing_sets_threads_and_restores_them_after_a_failure() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with computing(CPU, threads=before + 2) as threads:
            assert threads == torch.get_num_threads() == before + 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


def test_computing_leaves_threads_alone_by_default() -> None:
    before = torch.get_num_threads()
    with computing(CPU) as threads:
        assert threads == before


def test_computing_records_gradients_even_where_the_caller_does_not() -> None:
    with torch.no_grad():
        with computing(CPU):
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()


def test_repeatable_asks_cudnn_for_it_on_cuda_only() -> None:
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    with computing(Device("cuda", "a card", ""), repeatable=True):
        assert (flags.deterministic, flags.benchmark) == (True, False)
    with computing(CPU, repeatable=True):
        assert (flags.deterministic, flags.benchmark) == before
    assert (flags.deterministic, flags.benchmark) == before


def test_computations_side_by_side_go_back_to_the_threads_there_were() -> None:
    torch = load_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        cpu = choose_device("cpu")
        with computing(cpu, spare_a_core=True) as outer:
            found = []
            thread = threading.Thread(target=lambda: found.extend(_threads_of(cpu)))
            thread.start()
            thread.join()
        assert (outer, found, torch.get_num_threads()) == (7, [7], 8)
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [8]
    finally:
        torch.set_num_threads(before)


def _threads_of(device: Device) -> list[int]:
    with computing(device, spare_a_core=True) as threads:
        return [threads]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_loading_torch_leaves_the_environment_as_it_was() -> None:
    code = (
        "import os; before = dict(os.environ); from napari_dfc.devices import load_torch; "
        "load_torch(); assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    own = {**os.environ, "GOMP_SPINCOUNT": "7"}
    subprocess.run([sys.executable, "-c", f"{code}; assert os.environ['GOMP_SPINCOUNT'] == '7'"], check=True, env=own)


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        (Device("cuda", "a card", ""), "auto", {"cuda": "tf32", "cudnn": "tf32"}),
        (Device("cuda", "a card", ""), "float32", {"cuda": "ieee", "cudnn": "ieee"}),
        (CPU, "bfloat16", {"cpu": "bf16"}),
        (CPU, "auto", {"cpu": "ieee"}),
    ],
)
def test_computing_multiplies_as_asked_and_leaves_pytorch_as_it_was(
    monkeypatch: pytest.MonkeyPatch, device: Device, precision: Precision, expected: dict[str, str]
) -> None:
    backends = torch.backends
    places = {"cpu": backends.mkldnn.matmul, "cuda": backends.cuda.matmul, "cudnn": backends.cudnn.conv}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    before = {name: place.fp32_precision for name, place in places.items()}
    with computing(device, precision=precision):
        assert {name: place.fp32_precision for name, place in places.items()} == {**before, **expected}
        with computing(device, precision=precision):
            pass
        assert {name: place.fp32_precision for name, place in places.items()} == {**before, **expected}
    assert {name: place.fp32_precision for name, place in places.items()} == before
    assert torch.backends.cuda.matmul.allow_tf32 is False  # the older name still answers


def test_a_processor_without_bfloat16_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    before = torch.backends.mkldnn.matmul.fp32_precision
    with computing(CPU, precision="bfloat16"):
        assert torch.backends.mkldnn.matmul.fp32_precision == before
