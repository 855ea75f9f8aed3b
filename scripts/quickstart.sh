#!/usr/bin/env bash
# From nothing to a finished report: install kdopt, then tune all 24 pairs of the quickstart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh
kdopt run studies/quickstart.toml "$@"
