"""Which folders are packed, under which names, and the kernels in C++; everything else is in pyproject.toml.

The window and the data keep short folder names in the repository and take names under `endostream`
in a wheel, so that nothing called `ui` or `weights` lands in anybody's site-packages.
"""

from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ELSEWHERE = {
    "endostream_ui": "ui",
    "endostream._data.weights": "weights",
    "endostream._data.sample_videos": "sample_videos",
}
KERNELS = Path("endostream/engines/kernels/native")


class BuildKernels(build_ext):
    """A plain library that ctypes loads: it knows no Python, and its own marks say what it exports."""

    def build_extensions(self):
        """Compile with the flags of the compiler that was found."""
        windows = self.compiler.compiler_type == "msvc"
        flags = "/O2 /std:c++17 /EHsc" if windows else "-O3 -std=c++17 -fvisibility=hidden -pthread -g0"
        for extension in self.extensions:
            extension.extra_compile_args = flags.split()
            extension.extra_link_args = [] if windows else ["-pthread"]
        super().build_extensions()

    def get_export_symbols(self, extension):
        """Nothing beyond what the source exports: there is no Python module in it."""
        return []


setup(
    packages=[*find_packages(include=["endostream", "endostream.*"]), *ELSEWHERE],
    package_dir=ELSEWHERE,
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "endostream.engines.kernels._kernels",
            sources=sorted(str(p) for p in KERNELS.glob("*.cpp")),
            depends=sorted(str(p) for p in KERNELS.glob("*.h")),
            language="c++",
            # Without a compiler everything works; UNet masks then run in OpenVINO.
            optional=True,
        )
    ],
)
