#!/usr/bin/env bash
# docs/results/ and docs/results.md again, from the stores of the two published campaigns:
#     bash scripts/results.sh fashion-advice@FASHION/kdopt.db cifar10-small@CIFAR/kdopt.db
# --verify 50 also runs 50 random trials of each again, which takes the images and a few minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export KDOPT_EXTRAS=dev
source scripts/setup.sh
python scripts/publish_results.py "$@"
