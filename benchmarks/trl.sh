#!/bin/sh
# Builds TRL's own environment in DIR (default: build/trl), for train.py --trl and grpo_step.py --trl. About 1.5 GB and two minutes.
# Its own, so that no version this project needs bends to it; torch and transformers are the same as here, for a fair race.
set -eu
dir=${1:-build/trl}
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.19.0 accelerate==1.15.0 trl==1.16.0
echo "TRL's environment ready: $dir/bin/python"
