#!/usr/bin/env bash
# From nothing to a passed test suite. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export KDOPT_EXTRAS=dev
source scripts/setup.sh
if [ $# -eq 0 ]; then
    ruff check .
    ruff format --check .
    mypy
fi
python -m pytest "$@"
