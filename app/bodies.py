"""What a request carries: one image or many, as a form or as the raw body. What it is decides its content alone."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Any, Final, cast

from anyio import to_thread
from fastapi import Request, UploadFile
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as FormFile
from starlette.requests import ClientDisconnect

from app.archives import ArchiveLimits, Member, read_archive
from app.errors import BadRequest, ServiceError
from app.uploads import read_upload

FORM_BYTES: Final = 1 << 16
"""What a form may hold around its files: boundaries, names, a few fields."""

IMAGE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "One image, as the field `image` of a form or as the raw body; its content tells its format.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "The file: JPEG, PNG, TIFF, BMP or WebP.",
                        }
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""`read_one` for the OpenAPI document, which FastAPI cannot know of: it would read a body it knows before the key."""

IMAGES_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Several images as fields `images`, or one archive: as the field `archive` or as the raw body.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "The files.",
                        },
                        "archive": {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip, tar or tar.gz of images, in place of `images`.",
                        },
                    },
                    "anyOf": [{"required": ["images"]}, {"required": ["archive"]}],
                }
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "application/x-tar": {"schema": {"type": "string", "format": "binary"}},
            "application/gzip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""The same of `open_many`."""

_MOST_FIELDS: Final = 8
_IN_MEMORY_BYTES: Final = 1 << 20
_GONE: Final = "the connection was closed before the whole body had come; send it again"


async def read_one(request: Request, *, max_bytes: int) -> Member:
    """The one image of a request; its name is empty for a raw body.

    Raises:
        BadRequest: no image in it, no proper form, or the client went away half-way.
        TooLarge: more than `max_bytes`.
    """
    if not _is_form(request):
        return Member("", await read_upload(request, max_bytes=max_bytes))
    async with _form(request, max_files=1) as form:
        file = form.get("image")
        if not isinstance(file, FormFile):
            raise BadRequest("no file in the form's field `image`; put it there, or send it as the raw body")
        return await _read_file(file, max_bytes=max_bytes)


@asynccontextmanager
async def open_many(request: Request, *, limits: ArchiveLimits) -> AsyncIterator[AsyncIterator[Member]]:
    """The images of a request, one after another; each is read when it is asked for.

    Raises:
        BadRequest, UnsupportedImage, TooLarge: as `read_archive` does, or no proper form.
    """
    if not _is_form(request):
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            await _spool(request, file)
            yield await _unpack(file, limits=limits)
        return
    async with _form(request, max_files=limits.max_files) as form:
        archive = form.get("archive")
        images = [file for file in form.getlist("images") if isinstance(file, FormFile)]
        if isinstance(archive, FormFile):
            yield await _unpack(archive.file, limits=limits)
        elif images:
            yield _each(images, max_bytes=limits.max_file_bytes)
        else:
            raise BadRequest("no files in the form's fields `images`, nor in `archive`; put them there")


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


@asynccontextmanager
async def _form(request: Request, *, max_files: int) -> AsyncIterator[FormData]:
    try:
        async with request.form(max_files=max_files, max_fields=_MOST_FIELDS) as form:
            yield form
    except ClientDisconnect as gone:
        raise BadRequest(_GONE) from gone


async def _read_file(file: FormFile, *, max_bytes: int) -> Member:
    # FastAPI's class adds nothing to Starlette's but its place in signatures.
    return Member(file.filename or "", await read_upload(cast(UploadFile, file), max_bytes=max_bytes))


async def _each(files: Sequence[FormFile], *, max_bytes: int) -> AsyncIterator[Member]:
    for file in files:
        try:
            member = await _read_file(file, max_bytes=max_bytes)
        except ServiceError as refusal:
            member = Member(file.filename or "", refusal=refusal)
        yield member


async def _unpack(file: IO[bytes], *, limits: ArchiveLimits) -> AsyncIterator[Member]:
    return iterate_in_threadpool(await to_thread.run_sync(partial(read_archive, file, limits=limits)))


async def _spool(request: Request, file: IO[bytes]) -> None:
    try:
        async for chunk in request.stream():
            await to_thread.run_sync(file.write, chunk)
    except ClientDisconnect as gone:
        raise BadRequest(_GONE) from gone
    file.seek(0)
