"""What can be asked of a computer without loading a network library.

Owns the questions. Must not know what a good answer is.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import ipaddress
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

CHILD_S = 20.0
"""A child process that has not answered after this many seconds is given up (usual: 0.3 to 2 s)."""
FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""Processor features that decide the speed of the networks."""
TELLING = ("could not connect to display", "cannot open shared object", "is needed to load", "Error")
"""Words in what a child process complained of that tell the reason, best first."""

# Importing openvino sends an event where openvino_telemetry is installed: None keeps that one out.
OPENVINO_PROBE = """
import json, sys
sys.modules["openvino_telemetry"] = None
import openvino
core = openvino.Core()
print(json.dumps([[d, core.get_property(d, "FULL_DEVICE_NAME"),
    list(core.get_property(d, "OPTIMIZATION_CAPABILITIES"))] for d in core.available_devices]))
"""
WINDOW_PROBE = """
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    print("no limits on this system")
from PySide6.QtWidgets import QApplication
app = QApplication([])
print(app.platformName(), *(f"{s.size().width()}x{s.size().height()}" for s in app.screens()))
"""


class Child:
    """A question to a library, asked in a process of its own that runs while others are looked at."""

    def __init__(self, code: str) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> tuple[str | None, str]:
        """Its last line, or None and the reason."""
        left = CHILD_S - (time.monotonic() - self._started)
        try:
            said, complained = self._process.communicate(timeout=max(0.1, left))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return None, f"no answer within {CHILD_S:.0f} s"
        lines = said.strip().splitlines()
        if self._process.returncode == 0 and lines:
            return lines[-1], ""
        reasons = [line.strip() for line in complained.splitlines() if line.strip()]
        telling = [line for word in TELLING for line in reasons if word in line]
        return None, [*telling[:1], *reasons[::-1], f"ended with status {self._process.returncode}"][0]


def version_of(module: str, distribution: str) -> str | None:
    """The installed version; `?` where the module is there but was installed under another name."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_mb() -> int | None:
    """Memory of this computer in MB; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, and the size is only of interest
        return None


def nvidia_devices() -> list[str]:
    """The NVIDIA devices that the driver offers, with their compute capability; empty without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return []
    count, number = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for ordinal in range(count.value):
        name = ctypes.create_string_buffer(100)
        device = ctypes.c_int()
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, len(name), device)
        capability = []
        for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            capability.append(str(number.value))
        found.append(f"{name.value.decode(errors='replace')} (compute {'.'.join(capability)})")
    return found


def torch_cuda() -> str | None:
    """The CUDA version torch was built for, read from its version file because importing it takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / "version.py"
    text = file.read_text() if file.is_file() else ""
    found = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return found[1] if found else None


def is_loopback(url: str) -> bool:
    """True when the URL names this computer."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def processor() -> tuple[str, list[str]]:
    """Its name and those of `FEATURES` it has; no features where the system does not tell."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(errors="replace") if info.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    name = model[1].strip() if model else platform.processor() or platform.machine()
    return name, [f for f in FEATURES if flags and f in flags[1].split()]
