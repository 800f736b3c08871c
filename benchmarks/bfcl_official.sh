#!/bin/sh
# Builds the official scorer's own environment in DIR (default: build/bfcl-official), for benchmarks/bfcl.py --official.
# It takes minutes and about 6 GB: its pins (numpy 1.26.4 among them) cannot share this project's environment.
# soundfile is needed by it but not declared. It runs Python's eval on what it scores: give it only outputs you trust.
set -eu
dir=${1:-build/bfcl-official}
if [ "$(df -Pk "$(dirname "$dir")" 2>/dev/null | awk 'NR==2 {print $4}')" -lt 12000000 ]; then
    echo "$dir: at least 12 GB must be free" >&2
    exit 1
fi
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check bfcl-eval==2026.3.23 soundfile
echo "official environment ready: $dir/bin/python"
