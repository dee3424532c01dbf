#!/usr/bin/env bash
# All that a machine with an NVIDIA GPU owes arrayconv, in one command: bash bench/gpu.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" -m bench.gpu "$@"
