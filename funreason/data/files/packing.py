"""Packed files: gzip, bzip2, xz and zstandard, unpacked while they are read.

What is packed is decided by the first bytes. A name that promises a packing which the content does not have is an
error. Damage is reported where it is met: what came before it is read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from funreason.data.records import DataError, RecordRefused

BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError, ValueError)
"""What unpacking raises: the data ends early, cannot be unpacked, or is followed by a wrong checksum or garbage."""
_PIECE = 1 << 16


class Packing(NamedTuple):
    """How a file can be packed: its name, the ending of such files, their first bytes, and what opens one."""

    name: str
    suffix: str
    mark: bytes
    open: Callable[[Path], BinaryIO]


class _Zstandard(io.RawIOBase):
    """Unpacks one zstandard frame after the other; EOFError where the last one ends early."""

    def __init__(self, path: Path, decompressor: Callable[[], Any]) -> None:
        self._file = path.open("rb")
        self._new = decompressor
        self._frame = decompressor()
        self._packed = self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            self._packed = self._packed or self._file.read(_PIECE)
            if not self._packed:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the last frame has no end")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new()
            try:
                self._plain = self._frame.decompress(self._packed)
            except Exception as error:  # each package has its own
                raise zlib.error(str(error)) from error
            self._packed = self._frame.unused_data if self._frame.eof else b""
        size = min(len(buffer), len(self._plain))
        buffer[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zstandard(path: Path) -> BinaryIO:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14

        return io.BufferedReader(_Zstandard(path, zstd.ZstdDecompressor))
    except ModuleNotFoundError:
        pass
    try:
        import zstandard

        return io.BufferedReader(_Zstandard(path, lambda: zstandard.ZstdDecompressor().decompressobj()))
    except ModuleNotFoundError:
        pass
    try:
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading zstandard needs the extra `files`: pip install 'funreason[files]'") from error


PACKINGS = (
    Packing("gzip", ".gz", b"\x1f\x8b", lambda path: cast(BinaryIO, gzip.open(path))),  # noqa: SIM115
    Packing("bzip2", ".bz2", b"BZh", lambda path: cast(BinaryIO, bz2.open(path))),  # noqa: SIM115
    Packing("xz", ".xz", b"\xfd7zXZ\0", lambda path: cast(BinaryIO, lzma.open(path))),  # noqa: SIM115
    Packing("zstandard", ".zst", b"\x28\xb5\x2f\xfd", _open_zstandard),
)


def packing_of(path: Path) -> Packing | None:
    """How `path` is packed, None where it is not. DataError when it cannot be opened or its name promises another."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error
    found = next((packing for packing in PACKINGS if head.startswith(packing.mark)), None)
    promised = next((packing for packing in PACKINGS if path.suffix == packing.suffix), None)
    if head and promised is not None and found is None:
        raise DataError(f"{path}: the name says {promised.name}, the content does not (it begins with {head!r})")
    return found


def open_bytes(path: Path) -> BinaryIO:
    """`path` opened for reading, unpacked where its content is packed; raises DataError."""
    packing = packing_of(path)
    try:
        return path.open("rb") if packing is None else packing.open(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error


def head_of(path: Path, size: int) -> bytes:
    """The first `size` bytes of the content, fewer where it ends or breaks before; raises DataError."""
    head = b""
    with open_bytes(path) as stream:
        try:
            # read1 gives what could be unpacked before it raises, which `read` would throw away.
            while len(head) < size and (piece := stream.read1(size - len(head))):  # type: ignore[attr-defined]
                head += piece
        except BROKEN:
            pass  # reported when the records are read
    return head


def damage(error: Exception) -> RecordRefused:
    """What is reported where packed data breaks."""
    if isinstance(error, EOFError) or "Truncated" in str(error):
        return RecordRefused("file.truncated", f"the packed data ends early: {error}")
    message = f"the packed data is damaged here, the rest is not read, and records before it may be wrong: {error}"
    return RecordRefused("file.damaged", message)
