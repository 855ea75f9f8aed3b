#!/usr/bin/env bash
# From nothing to a passed test suite, in two processes with servers of their own, which takes two
# thirds of the time of one. Arguments go to pytest instead, without the linters: `-n 0` is one process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export KDOPT_EXTRAS=dev
source scripts/setup.sh
# A real Slurm for the tests of `kdopt launch`, where it may be installed; elsewhere pytest says
# which tests it skipped.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v slurmctld >/dev/null; then
    slurm=(env DEBIAN_FRONTEND=noninteractive
        apt-get install --quiet=2 --yes --no-install-recommends slurm-wlm munge)
    "${slurm[@]}" >/dev/null 2>&1 || { apt-get update --quiet=2 && "${slurm[@]}" >/dev/null; } ||
        echo "slurm-wlm and munge could not be installed" >&2
fi
if [ $# -eq 0 ]; then
    ruff check .
    ruff format --check .
    mypy
    # Fixtures of a file are made once: by files, in their order.
    set -- -n 2 --dist loadfile --no-loadscope-reorder
fi
python -m pytest "$@"
