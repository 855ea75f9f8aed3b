#!/usr/bin/env bash
# From nothing to a passed test suite. Arguments go to pytest. In two processes, each with servers of
# its own, it takes two thirds of the time, and what waits for processes has less room:
#   bash scripts/test.sh -n 2 --dist loadfile --no-loadscope-reorder
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
fi
python -m pytest "$@"
