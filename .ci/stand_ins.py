"""Wheels that hold metadata and nothing else, for packages that vLLM names and text models on a CPU never import.

On the package index torchvision, torchaudio, torchcodec and triton exist only as CUDA builds: gigabytes that fail at
import beside a CPU torch, and transformers fails with them. An empty distribution of that name satisfies the resolver
and `pip check`; importing it fails as if it were absent, which is what transformers and vLLM look for.

    python .ci/stand_ins.py FOLDER      # writes the wheels and FOLDER/constraints.txt that asks for exactly these
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

# Above what anybody asks for, except where a machine's own pip settings may cap the version (torchvision).
VERSIONS = {"torchvision": "0.29.0", "torchaudio": "9999.0", "torchcodec": "9999.0", "triton": "9999.0"}
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Empty stand-in: nothing to import.\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: funreason\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def stand_in(name: str, version: str, folder: Path) -> Path:
    """Write the empty wheel of `name` into `folder`."""
    info = f"{name}-{version}.dist-info"
    files = {f"{info}/METADATA": METADATA.format(name=name, version=version), f"{info}/WHEEL": WHEEL}
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(inside, text)
    return path


def main(folder: Path) -> None:
    """All of them, and the constraints that make pip prefer them to the index."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = [stand_in(name, version, folder) for name, version in VERSIONS.items()]
    lines = [f"{name} @ {wheel.resolve().as_uri()}\n" for name, wheel in zip(VERSIONS, wheels, strict=True)]
    (folder / "constraints.txt").write_text("".join(lines))


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
