"""What a client sends becomes bytes, and the bytes become pixels, each within its limit before it is paid for."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import Request, UploadFile
from PIL import Image, UnidentifiedImageError
from starlette.requests import ClientDisconnect

from app.errors import BadRequest, ServiceError, TooLarge, Unprocessable, UnsupportedImage
from data.images import ImageError, ImageFacts, Rgb, read_header, read_image

_CHUNK_BYTES: Final = 1 << 20
_NO_LIMIT: Final = 1 << 62


async def read_upload(source: Request | UploadFile, *, max_bytes: int) -> bytes:
    """The whole of a request's raw body, or of one file of a form.

    A body is cut off at the first byte too many, while it arrives; the size that it announces can only make it
    refused sooner. A form's files are spooled by FastAPI before we see them: `max_body_size` bounds them.

    Raises:
        TooLarge: more than `max_bytes`.
        BadRequest: nothing, or the client went away half-way.
    """
    too_large = TooLarge(f"more than the limit of {max_bytes / 1e6:g} MB; send a smaller image")
    if _announced_bytes(source) > max_bytes:
        raise too_large
    content = bytearray()
    async for chunk in _chunks(source):
        if len(content) + len(chunk) > max_bytes:
            raise too_large
        content += chunk
    if not content:
        raise BadRequest("nothing was sent; send the bytes of an image")
    return bytes(content)


def read_pixels(content: bytes, *, max_pixels: int) -> tuple[Rgb, ImageFacts]:
    """An image file → its pixels as training saw them, uint8 RGB [height, width, 3], and its header's facts.

    Takes milliseconds and more: call it in a thread.

    Raises:
        UnsupportedImage: no format that `data.images` reads, whatever its Content-Type said.
        TooLarge: more than `max_pixels` (width x height), by its header: nothing is decoded.
        Unprocessable: truncated, damaged, or samples that have no fixed range.
    """
    try:
        # Without a limit here, so that an image too large can be told from one that is damaged.
        facts = read_header(content, max_pixels=_NO_LIMIT)
        if facts.width * facts.height > max_pixels:
            raise TooLarge(
                f"{facts.width} x {facts.height} px are more than the limit of {max_pixels / 1e6:g} megapixels; "
                "cut the image"
            )
        return read_image(content, max_pixels=max_pixels), facts
    except ImageError as error:
        raise _refusal(error) from error


async def decode(
    content: bytes, *, max_pixels: int, limiter: CapacityLimiter | None = None
) -> tuple[Rgb, ImageFacts]:
    """`read_pixels` in a thread; raises as it does.

    `limiter` bounds how many decode at once, and with it their memory: 3 bytes per pixel and up to twice that on the
    way. Anyio's own default allows 40.
    """
    return await to_thread.run_sync(partial(read_pixels, content, max_pixels=max_pixels), limiter=limiter)


def _refusal(error: ImageError) -> ServiceError:
    match error.__cause__:
        case UnidentifiedImageError():
            return UnsupportedImage(str(error))
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return TooLarge(str(error))
        case _:
            return Unprocessable(str(error))


def _announced_bytes(source: Request | UploadFile) -> int:
    if isinstance(source, Request):
        announced = source.headers.get("content-length", "")
        # The first digits are enough to refuse it; of thousands Python makes no number.
        return int(announced[:19]) if announced.isdecimal() else 0
    return source.size or 0


async def _chunks(source: Request | UploadFile) -> AsyncIterator[bytes]:
    if isinstance(source, Request):
        try:
            async for chunk in source.stream():
                yield chunk
        except ClientDisconnect as gone:
            raise BadRequest(
                "the connection was closed before the whole body had come; send it again"
            ) from gone
    else:
        while chunk := await source.read(_CHUNK_BYTES):
            yield chunk
