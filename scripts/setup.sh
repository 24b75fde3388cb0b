#!/bin/sh
# Makes the virtual environment and looks after Qt's system libraries. Called by `make setup`; safe to repeat.
#   PYTHON=python3.12 sh scripts/setup.sh [FOLDER]     PIP_ARGS="..." adds arguments to pip install
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

stop() {
    echo "set-up: $*" >&2
    exit 1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c "$new_enough" 2>/dev/null || stop "$PYTHON is not Python 3.11 or newer; set PYTHON=/path/to/python3.11"
        return
    fi
    for PYTHON in python3 python3.13 python3.12 python3.11 python; do
        if "$PYTHON" -c "$new_enough" 2>/dev/null; then return; fi
    done
    stop "Python 3.11 or newer is needed; install it, or set PYTHON=/path/to/python3.11"
}

if "$venv/bin/python" -c "$new_enough; import pip" 2>/dev/null; then
    echo "set-up: $venv is there"
else
    find_python
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "$PYTHON has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)"
    echo "set-up: $venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear "$venv" >/dev/null || stop "$venv cannot be made; is the folder writable?"
fi

"$venv/bin/python" scripts/system_libraries.py --install --compiler || true
echo "set-up: libraries for Python (minutes and about 6 GB the first time)"
# shellcheck disable=SC2086
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input ${PIP_ARGS:-} \
    --constraint constraints.txt --editable '.[all]' ||
    stop "pip could not install; see its lines above, then run make setup again"

ls endostream/engines/kernels/_kernels.* >/dev/null 2>&1 ||
    echo "set-up: the C++ kernels were not built; the published networks take OpenVINO instead (slower)"
"$venv/bin/python" scripts/system_libraries.py --install || true
echo "set-up: done; try: make demo"
