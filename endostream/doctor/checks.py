"""Is this computer ready? One line per thing that matters, with what to do where it is not.

Owns the checks behind `endostream doctor`. Must not know how they are printed, and loads no network library:
what only OpenVINO or Qt can tell is asked of a child process, so that a broken one cannot take this down.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import endostream
from endostream.doctor.probes import (
    OPENVINO_PROBE,
    WINDOW_PROBE,
    Child,
    cores,
    is_loopback,
    memory_mb,
    nvidia_devices,
    processor,
    torch_cuda,
    version_of,
)
from endostream.engines.kernels import library as kernels
from endostream.errors import EndostreamError
from endostream.packs import find_pack, pack_folders, verify_pack
from endostream.resources import shipped, user_cache, user_config, user_data

CheckState = Literal["ok", "warn", "fail"]
LLM_S = 1.0
"""Seconds a language model on this computer has to list its models."""
ROOM_MB = 2000
"""Free space under which a folder is worth a warning: an hour of session with recording."""
LLM_SERVERS = {"LM Studio": "http://localhost:1234/v1", "Ollama": "http://localhost:11434/v1"}
DISTRIBUTIONS = {
    "numpy": "numpy",
    "av": "av",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "openvino": "openvino",
    "PySide6": "PySide6-Essentials",
    "pyqtgraph": "pyqtgraph",
}
"""Module that is imported, and the distribution that usually brings it."""
WITHOUT_KERNELS = "the published networks take OpenVINO"
QT_LIBRARIES = "libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libdbus-1-3 libfontconfig1"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What was looked at."""
    state: CheckState
    """`ok`; `warn`: something is slower or missing; `fail`: something cannot work."""
    detail: str
    """What was found, in one line."""
    advice: str = ""
    """What to do, in one line; empty where there is nothing to do."""


def examine(llm: str | None = None) -> list[Check]:
    """Look at everything that decides whether and how well EndoStream works here.

    Parameters
    ----------
    llm
        URL of an OpenAI-compatible server to ask as well, or `auto` for the usual ones on this computer.
        Without it nothing is asked of any server.
    """
    devices, window = Child(OPENVINO_PROBE), _window_child()
    steps: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("Python", _python),
        ("libraries", _libraries),
        ("processor", _processor),
        ("kernels", _kernels),
        ("CUDA", _cuda),
        ("packs", _packs),
        ("sample video", _sample),
        ("folders", _folders),
        ("video devices", _video_devices),
        ("ffmpeg", _ffmpeg),
        ("OpenVINO", lambda: _openvino(devices)),
        ("window", lambda: _window(window)),
    ]
    if llm:
        steps.append(("language model", lambda: _language_model(llm)))
    return [check for name, step in steps for check in _guarded(name, step)]


def worst(checks: Sequence[Check]) -> CheckState:
    """The state of the whole: the worst of its parts."""
    states = {check.state for check in checks}
    return "fail" if "fail" in states else "warn" if "warn" in states else "ok"


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as a table that JSON can hold."""
    return {"version": endostream.__version__, "state": worst(checks), "checks": [asdict(c) for c in checks]}


def as_text(checks: Sequence[Check]) -> list[str]:
    """The checks as lines for a terminal; advice on a line of its own."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.state:4}  {check.name:{width}}  {check.detail}")
        if check.advice:
            lines.append(f"{'':4}  {'':{width}}  -> {check.advice}")
    return lines


def _guarded(name: str, step: Callable[[], Iterator[Check]]) -> list[Check]:
    """The checks of one step; a step that breaks becomes a failed check, because a doctor always answers."""
    try:
        return list(step())
    except Exception as error:
        said = str(error).splitlines() or [type(error).__name__]
        return [Check(name, "fail", f"could not be examined: {type(error).__name__}: {said[0]}")]


def _python() -> Iterator[Check]:
    where = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check("Python", "ok", f"{where}, EndoStream {endostream.__version__}")


def _libraries() -> Iterator[Check]:
    versions = {module: version_of(module, name) for module, name in DISTRIBUTIONS.items()}
    absent = [DISTRIBUTIONS[m] for m, v in versions.items() if v is None]
    detail = ", ".join(f"{m} {v}" for m, v in versions.items() if v is not None)
    if absent:
        advice = f"pip install {' '.join(absent)}"
        yield Check("libraries", "fail", f"missing: {', '.join(absent)}; found: {detail}", advice)
    else:
        yield Check("libraries", "ok", detail)
    if (versions["torch"] or "").startswith("2.13.0"):
        yield Check(
            "torch", "warn", "2.13.0 without CUDA cannot load torchvision", "pip install -U torch torchvision"
        )
    if versions["PySide6"] == "6.12.0" and sys.version_info < (3, 12):
        advice = "pip install 'PySide6-Essentials!=6.12.0'"
        yield Check("Qt", "fail", "PySide6 6.12.0 aborts under Python 3.11", advice)


def _processor() -> Iterator[Check]:
    name, features = processor()
    memory = memory_mb()
    parts = [name, f"{cores()} cores", *([f"{memory} MB memory"] if memory else []), " ".join(features)]
    detail = ", ".join(p for p in parts if p)
    if cores() < 2:
        yield Check(
            "processor", "warn", detail, "give it two cores: one cannot decode and analyse in real time"
        )
    elif features and "avx2" not in features:
        yield Check(
            "processor", "warn", detail, "slow without AVX2: use a GPU, or endostream analyze --every 0.2"
        )
    else:
        yield Check("processor", "ok", detail)


def _kernels() -> Iterator[Check]:
    sets = [str(one.name) for one in kernels.SETS if one in kernels.features()]
    if kernels.switched_off():
        yield Check("kernels", "ok", f"switched off by {kernels.SWITCH}: {WITHOUT_KERNELS} (slower)")
    elif not kernels.available():
        advice = "install a C++ compiler and EndoStream again"
        yield Check("kernels", "warn", f"not built: {WITHOUT_KERNELS} (slower)", advice)
    elif not sets:
        yield Check("kernels", "ok", f"none for this processor: {WITHOUT_KERNELS}")
    else:
        yield Check("kernels", "ok", f"for the published networks: {', '.join(s.lower() for s in sets)}")


def _cuda() -> Iterator[Check]:
    devices, built = nvidia_devices(), torch_cuda()
    if not devices:
        yield Check("CUDA", "ok", "no NVIDIA GPU with a driver: the networks run on the processor")
    elif built is None:
        advice = "install torch from https://pytorch.org for your driver to use the GPU"
        yield Check("CUDA", "warn", f"{', '.join(devices)}, but torch was built without CUDA", advice)
    else:
        yield Check("CUDA", "ok", f"{', '.join(devices)}, torch built for CUDA {built}")


def _openvino(child: Child) -> Iterator[Check]:
    said, reason = child.answer()
    if said is None:
        yield Check(
            "OpenVINO", "fail", reason, "pip install --force-reinstall openvino, or use --engine torch"
        )
        return
    devices = json.loads(said)
    detail = "; ".join(f"{device}: {name} ({' '.join(can)})" for device, name, can in devices)
    yield Check("OpenVINO", "ok" if devices else "fail", detail or "offers no device")


def _packs() -> Iterator[Check]:
    folders = pack_folders()
    if not folders:
        yield Check("packs", "fail", "no pack was found", "install EndoStream again: its packs come with it")
    for name in folders:
        try:
            pack = find_pack(name)
            whose = "shipped" if pack.shipped else "imported"
            if pack.missing:
                files = " ".join("FILE" for _ in pack.models)
                advice = f"endostream packs import {files} --pack {name}"
                yield Check(f"pack {name}", "ok", f"{pack.version}, needs import: no weights yet", advice)
                continue
            verify_pack(pack)
            yield Check(f"pack {name}", "ok", f"{pack.version}, {whose}, checksums match")
        except EndostreamError as error:
            yield Check(f"pack {name}", "fail", str(error))


def _sample() -> Iterator[Check]:
    found = sorted(shipped("sample_videos").glob("*.mp4"))
    if found:
        detail = ", ".join(f"{p.name} ({p.stat().st_size / 1e6:.1f} MB)" for p in found)
        yield Check("sample video", "ok", detail)
    else:
        yield Check("sample video", "warn", "not there", "endostream demo needs it: install EndoStream again")


def _folders() -> Iterator[Check]:
    for name, folder in (("data", user_data()), ("cache", user_cache()), ("preferences", user_config())):
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        variable = {"data": "DATA", "cache": "CACHE", "preferences": "CONFIG"}[name]
        advice = f"set ENDOSTREAM_{variable} to another folder"
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(b"x")
        except OSError as error:
            yield Check(f"{name} folder", "fail", f"{folder} cannot be written: {error.strerror}", advice)
            continue
        free = shutil.disk_usage(there).free // 2**20
        state: CheckState = "ok" if free > ROOM_MB else "warn"
        yield Check(f"{name} folder", state, f"{folder}, {free} MB free", "" if state == "ok" else advice)


def _video_devices() -> Iterator[Check]:
    from endostream.capture import list_devices

    found = list_devices()
    detail = (
        ", ".join(f"{d.id} ({d.name})" for d in found) or "none is connected: files and streams still work"
    )
    yield Check("video devices", "ok", detail)


def _ffmpeg() -> Iterator[Check]:
    from endostream.capture import srt

    if srt.available():
        yield Check("ffmpeg", "ok", "there, with SRT: srt: sources can be read")
    else:
        where = "there, without SRT" if shutil.which("ffmpeg") else "not there"
        yield Check("ffmpeg", "ok", f"{where}: only srt: sources need one that has it; decoding is built in")


def _window_child() -> Child | None:
    """The question whether a window opens; None where there is no display to ask."""
    linux = sys.platform.startswith("linux")
    shown = any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    return Child(WINDOW_PROBE) if shown or not linux else None


def _window(child: Child | None) -> Iterator[Check]:
    if child is None:
        advice = "open a window from a desktop session, or use endostream analyze and endostream demo here"
        yield Check("window", "warn", "no display (neither DISPLAY nor WAYLAND_DISPLAY is set)", advice)
        return
    said, reason = child.answer()
    if said is not None:
        yield Check("window", "ok", f"opens ({said})")
    elif "could not connect" in reason:
        yield Check("window", "warn", reason, "check DISPLAY; endostream analyze works without a window")
    else:
        yield Check("window", "warn", reason, f"make setup, or sudo apt-get install {QT_LIBRARIES}")


def _language_model(url: str) -> Iterator[Check]:
    import httpx

    for name, base in LLM_SERVERS.items() if url == "auto" else [("language model", url)]:
        if not is_loopback(base):
            yield Check(name, "warn", f"{base} is not on this computer: not asked", "name a loopback address")
            continue
        try:
            reply = httpx.get(f"{base.rstrip('/')}/models", timeout=LLM_S, trust_env=False)
            models = [str(m["id"]) for m in reply.raise_for_status().json()["data"]]
        except httpx.HTTPStatusError as error:
            yield Check(
                name, "warn", f"{base} answers with HTTP {error.response.status_code}", "check its address"
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            advice = "start its server to have prose written; the report itself needs none"
            yield Check(name, "warn", f"nothing answers at {base}", advice)
        except (ValueError, KeyError, TypeError):
            yield Check(name, "warn", f"{base} is no OpenAI-compatible server", "check its address")
        else:
            yield Check(name, "ok", f"{base} offers {', '.join(models) or 'no model: load one there'}")
