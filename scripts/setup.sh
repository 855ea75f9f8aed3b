#!/usr/bin/env bash
# Make .venv with kdopt in it, once; sourced by the other scripts. Needs Python 3.11 or newer.
#   KDOPT_EXTRAS   extras to install, such as dev
#   PYTHON         interpreter to use [default: the newest of python3.14 ... python3.11, python3]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "kdopt: error: no Python 3.11 or newer found; install one or set PYTHON" >&2
    exit 2
}

extras=${KDOPT_EXTRAS:-}
mark="$root/.venv/.kdopt-installed"
# Installed once per state of pyproject.toml and set of extras.
wanted="$(cksum <"$root/pyproject.toml") $extras"
if [ "$(cat "$mark" 2>/dev/null || true)" != "$wanted" ] &&
    [ "$(cat "$mark" 2>/dev/null || true)" != "$(cksum <"$root/pyproject.toml") dev" ]; then
    if ! python=$(find_python); then exit 2; fi
    echo "installing kdopt into $root/.venv (PyTorch is large: this takes a few minutes)" >&2
    [ -x "$root/.venv/bin/python" ] || "$python" -m venv "$root/.venv"
    "$root/.venv/bin/python" -m pip install --quiet --upgrade pip
    "$root/.venv/bin/python" -m pip install --quiet --editable "$root${extras:+[$extras]}"
    printf '%s' "$wanted" >"$mark"
fi
export PATH="$root/.venv/bin:$PATH"
