"""Find the system libraries that Qt needs and this computer lacks; install them where that is allowed.

    python scripts/system_libraries.py [--install] [--compiler]

With `--compiler` it looks for a C++ compiler instead, which builds our kernels of the published networks.
Looks only at Linux: elsewhere Qt brings everything. Never fails: what cannot be installed is said in one line
with the command to run, and everything but the window, or those kernels, works without.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES: dict[str, tuple[str, str]] = {
    "libEGL.so": ("libegl1", "libglvnd-egl"),
    "libGL.so": ("libgl1", "libglvnd-glx"),
    "libGLX.so": ("libglx0", "libglvnd-glx"),
    "libOpenGL.so": ("libopengl0", "libglvnd-opengl"),
    "libxkbcommon.so": ("libxkbcommon0", "libxkbcommon"),
    "libxkbcommon-x11.so": ("libxkbcommon-x11-0", "libxkbcommon-x11"),
    "libX11.so": ("libx11-6", "libX11"),
    "libX11-xcb.so": ("libx11-xcb1", "libX11-xcb"),
    "libxcb-cursor.so": ("libxcb-cursor0", "xcb-util-cursor"),
    "libxcb-icccm.so": ("libxcb-icccm4", "xcb-util-wm"),
    "libxcb-image.so": ("libxcb-image0", "xcb-util-image"),
    "libxcb-keysyms.so": ("libxcb-keysyms1", "xcb-util-keysyms"),
    "libxcb-render-util.so": ("libxcb-render-util0", "xcb-util-renderutil"),
    "libxcb-randr.so": ("libxcb-randr0", "libxcb"),
    "libxcb-render.so": ("libxcb-render0", "libxcb"),
    "libxcb-shape.so": ("libxcb-shape0", "libxcb"),
    "libxcb-shm.so": ("libxcb-shm0", "libxcb"),
    "libxcb-sync.so": ("libxcb-sync1", "libxcb"),
    "libxcb-util.so": ("libxcb-util1", "xcb-util"),
    "libxcb-xfixes.so": ("libxcb-xfixes0", "libxcb"),
    "libxcb-xinerama.so": ("libxcb-xinerama0", "libxcb"),
    "libxcb-xinput.so": ("libxcb-xinput0", "libxcb"),
    "libxcb-xkb.so": ("libxcb-xkb1", "libxcb"),
    "libxcb-glx.so": ("libxcb-glx0", "libxcb"),
    "libxcb.so": ("libxcb1", "libxcb"),
    "libdbus-1.so": ("libdbus-1-3", "dbus-libs"),
    "libfontconfig.so": ("libfontconfig1", "fontconfig"),
    "libfreetype.so": ("libfreetype6", "freetype"),
    "libglib-2.0.so": ("libglib2.0-0", "glib2"),
    "libgthread-2.0.so": ("libglib2.0-0", "glib2"),
    "libgssapi_krb5.so": ("libgssapi-krb5-2", "krb5-libs"),
    "libSM.so": ("libsm6", "libSM"),
    "libICE.so": ("libice6", "libICE"),
    "libatomic.so": ("libatomic1", "libatomic"),
    "libzstd.so": ("libzstd1", "libzstd"),
    "libz.so": ("zlib1g", "zlib"),
    "a font": ("fonts-dejavu-core", "dejavu-sans-fonts"),
    "Xvfb": ("xvfb", "xorg-x11-server-Xvfb"),
    "xauth": ("xauth", "xorg-x11-xauth"),
    "a C++ compiler": ("g++", "gcc-c++"),
}
"""What may be missing, and the package that has it in Debian and in Fedora."""

QT_FILES = (
    "QtCore.abi3.so",
    "QtGui.abi3.so",
    "QtWidgets.abi3.so",
    "Qt/plugins/platforms/libqxcb.so",
    "Qt/plugins/platforms/libqoffscreen.so",
)
FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")


def missing_libraries() -> list[str]:
    """Library names, without their version, that the loader does not find for Qt's own files."""
    spec = importlib.util.find_spec("PySide6")
    if spec is None or not spec.submodule_search_locations or shutil.which("ldd") is None:
        return []
    folder = Path(spec.submodule_search_locations[0])
    found: set[str] = set()
    for name in QT_FILES:
        if (folder / name).is_file():
            said = subprocess.run(["ldd", folder / name], capture_output=True, text=True, check=False).stdout
            lines = [line.split() for line in said.splitlines() if "not found" in line and "=>" in line]
            found |= {words[0].split(".so")[0] + ".so" for words in lines}
    return sorted(found)


def missing_compiler() -> list[str]:
    """A C++ compiler, where there is none."""
    given = os.environ.get("CXX", "").split()[:1]
    return [] if any(shutil.which(c) for c in (*given, "c++", "g++", "clang++")) else ["a C++ compiler"]


def missing() -> list[str]:
    """Everything the window or its tests lack on this computer."""
    found = missing_libraries()
    folders = [Path(f).expanduser() for f in FONTS]
    if not any(True for f in folders for kind in ("*.ttf", "*.otf") for _ in f.rglob(kind)):
        found.append("a font")
    return found + [program for program in ("Xvfb", "xauth") if shutil.which(program) is None]


def commands(names: list[str]) -> list[list[str]]:
    """The commands that install what is missing, or nothing where the system is not known."""
    if shutil.which("apt-get"):
        packages = sorted({NAMES[n][0] for n in names if n in NAMES})
        install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
        return [["apt-get", "update"], install] if packages else []
    if shutil.which("dnf"):
        packages = sorted({NAMES[n][1] for n in names if n in NAMES})
        return [["dnf", "install", "-y", *packages]] if packages else []
    return []


def allowed() -> list[str] | None:
    """What to put before a command so that it runs as root without a question; None where it cannot."""
    if os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"]
    return None


def install(steps: list[list[str]], before: list[str]) -> bool:
    """True when every step ran through."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in steps:
        try:
            done = subprocess.run(
                [*before, *step], env=environment, capture_output=True, text=True, check=False, timeout=600
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"set-up: {step[0]} did not finish: {error}")
            return False
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            print(f"set-up: {' '.join(step[:2])} failed: {said}")
            return False
    return True


def main() -> int:
    """Say what is missing, install it where allowed, otherwise name the command."""
    if not sys.platform.startswith("linux"):
        return 0
    if "--compiler" in sys.argv[1:]:
        look, what = missing_compiler, "our kernels of the published networks"
        without = "they take OpenVINO instead (slower)"
    else:
        look, what = missing, "the window and its tests"
        without = "everything else works without"
    lacking = look()
    if not lacking:
        if look is missing:
            print("set-up: system libraries for the window are there")
        return 0
    steps, before = commands(lacking), allowed()
    print(f"set-up: this computer lacks {', '.join(lacking)}")
    if "--install" in sys.argv[1:] and steps and before is not None:
        print(f"set-up: {' '.join(steps[-1])}")
        if install(steps, before) and not (lacking := look()):
            print(f"set-up: what {what} need is there now")
            return 0
    if steps:
        print(f"set-up: for {what} run: sudo {' && sudo '.join(' '.join(s) for s in steps)}")
    else:
        print(f"set-up: for {what} install them with your system's package manager")
    print(f"set-up: {without}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
