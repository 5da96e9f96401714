"""What a request carries: one image or many, as a form or as the raw body. What it is decides its content alone."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Any, Final, cast

from anyio import to_thread
from fastapi import Request, UploadFile
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import UploadFile as FormFile
from starlette.requests import ClientDisconnect

from app.archives import ArchiveLimits, Member, label, read_archive
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
                    "additionalProperties": False,
                },
                "encoding": {"image": {"contentType": "image/*"}},
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
                    "oneOf": [{"required": ["images"]}, {"required": ["archive"]}],
                    "additionalProperties": False,
                },
                "encoding": {
                    "archive": {"contentType": "application/zip, application/x-tar, application/gzip"}
                },
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
    async with _form(request, fields=("image",), max_files=1) as files:
        if not files:
            raise BadRequest("no file in the form's field `image`; put it there, or send it as the raw body")
        return await _read_file(files[0][1], max_bytes=max_bytes)


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
    async with _form(request, fields=("images", "archive"), max_files=limits.max_files) as files:
        archive = next((file for field, file in files if field == "archive"), None)
        if not files:
            raise BadRequest("no files in the form's fields `images`, nor in `archive`; put them there")
        if archive is None:
            yield _each([file for _, file in files], max_bytes=limits.max_file_bytes)
        elif len(files) == 1:
            yield await _unpack(archive.file, limits=limits)
        else:
            raise BadRequest("an archive beside other files in one form; send each archive by itself")


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


@asynccontextmanager
async def _form(
    request: Request, *, fields: Sequence[str], max_files: int
) -> AsyncIterator[list[tuple[str, FormFile]]]:
    """The files of a form by field. What is no file of these fields is refused: a scale put there has no effect."""
    try:
        form = await request.form(max_files=max_files, max_fields=_MOST_FIELDS)
    except ClientDisconnect as gone:
        raise BadRequest(_GONE) from gone
    except ValueError as error:
        # Some of Python's charsets raise what Starlette does not expect of them.
        raise BadRequest("the form's charset does not fit its names; send it as UTF-8") from error
    try:
        yield [(field, _file(field, value, fields=fields)) for field, value in form.multi_items()]
    finally:
        await form.close()


def _file(field: str, value: FormFile | str, *, fields: Sequence[str]) -> FormFile:
    if field not in fields:
        raise BadRequest(
            f"a form with the field {label(field[:80])!r}; expected {' or '.join(fields)}, all else goes into the query"
        )
    if isinstance(value, str):
        raise BadRequest(f"no file in the form's field `{field}`, but a text; give it a file name")
    return value


async def _read_file(file: FormFile, *, max_bytes: int) -> Member:
    # FastAPI's class adds nothing to Starlette's but its place in signatures.
    return Member(label(file.filename or ""), await read_upload(cast(UploadFile, file), max_bytes=max_bytes))


async def _each(files: Sequence[FormFile], *, max_bytes: int) -> AsyncIterator[Member]:
    for file in files:
        try:
            member = await _read_file(file, max_bytes=max_bytes)
        except ServiceError as refusal:
            member = Member(label(file.filename or ""), refusal=refusal)
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
