"""Streams that stop at a limit, whoever reads them: what libraries read on our behalf has to be counted too."""

import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from app.errors import TooLarge

_CHUNK_BYTES: Final = 1 << 14
_GZIP: Final = 31  # zlib's number for a gzip header around its stream


class Readable(Protocol):
    """All that is asked of a stream."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at its end."""


class Meter:
    """How many bytes may still be read, over all the streams that share it."""

    def __init__(self, limit_bytes: int, *, refusal: str) -> None:
        self._left_bytes = limit_bytes
        self._refusal = refusal

    def read(self, stream: Readable, size: int) -> bytes:
        # One more than is left: so that a file may end just there, and no large one is read to see that it does not.
        most = self._left_bytes + 1
        content = stream.read(most if size < 0 else min(size, most))
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise TooLarge(self._refusal)
        return content


class Metered:
    """A stream whose reads are counted; seeking is free."""

    def __init__(self, stream: Readable, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter

    def read(self, size: int = -1, /) -> bytes:
        return self._meter.read(self._stream, size)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return cast(Callable[..., Any], getattr(self._stream, name))


class Gunzip:
    """Unpacks gzip, several streams behind each other too, and passes over the zeros that pad them.

    gzip.GzipFile reads the name in a header byte by byte, in Python: half a minute for one as long as an upload.
    """

    def __init__(self, packed: Readable) -> None:
        self._packed = packed
        self._inflate = zlib.decompressobj(wbits=_GZIP)
        self._rest = b""
        self._begun = False

    def read(self, size: int, /) -> bytes:
        content = b""
        while not content:
            chunk = self._rest or self._packed.read(_CHUNK_BYTES)
            if not self._begun:
                chunk = chunk.lstrip(b"\0")
            if not chunk:
                if self._begun:
                    raise EOFError("it ends too early")
                break
            content = self._inflate.decompress(chunk, size)
            self._rest, self._begun = self._inflate.unconsumed_tail, True
            if self._inflate.eof:
                self._rest, self._begun = self._inflate.unused_data, False
                self._inflate = zlib.decompressobj(wbits=_GZIP)
        return content
