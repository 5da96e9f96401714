"""Forms: boundaries that do not fit, fields that come twice, headers and names made to mislead."""

from collections.abc import Iterator
from typing import Final

from .malformed import MANY, ONE, REFUSED, TAKEN, Family, Upload, image

_PNG: Final = image("PNG")
_END: Final = b"\r\n--x--\r\n"


def _part(head: bytes, content: bytes = _PNG) -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + content


def _file(name: bytes = b"image", *, filename: bytes = b"a.png", content: bytes = _PNG) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name + b'"; filename="' + filename + b'"'
    return _part(disposition, content)


def _form(
    name: str,
    content: bytes,
    statuses: frozenset[int] = REFUSED,
    *,
    path: str = ONE,
    type_end: str = "boundary=x",
) -> Upload:
    headers = {"Content-Type": f"multipart/form-data; {type_end}"}
    return Upload(name, content, statuses, path=path, headers=headers)


def wrong_boundaries() -> Iterator[Upload]:
    """The body and its header disagree, or the body breaks off."""
    whole = _file() + _END
    for boundary in (
        "boundary=y",
        "boundary=xx",
        "boundary=",
        'boundary=""',
        "boundary",
        "bound=x",
        "charset=x",
    ):
        yield _form(f"header says {boundary}", whole, type_end=boundary)
    yield _form("a boundary of 8 kB", b"--" + b"x" * 8000 + whole, type_end="boundary=" + "x" * 8000)
    yield _form("line feeds alone", whole.replace(b"\r\n", b"\n"))
    yield _form("nothing", b"")
    yield _form("nothing but the end", b"--x--\r\n")
    yield _form("nothing but boundaries", b"--x\r\n" * 1000)
    for percent in range(0, 100, 5):
        yield _form(f"cut at {percent} %", whole[: len(whole) * percent // 100])
    yield _form("a head without its end", b"--x\r\nContent-Disposition: form-data; name=")


def wrong_fields() -> Iterator[Upload]:
    """Fields twice, elsewhere, without a name, without a file, too many."""
    for path, name in ((ONE, b"image"), (MANY, b"images")):
        where = f"in {path}"
        yield _form(
            f"no name {where}", _part(b'Content-Disposition: form-data; filename="a.png"') + _END, path=path
        )
        yield _form(f"no head {where}", _part(b"") + _END, path=path)
        yield _form(f"no disposition {where}", _part(b"Content-Type: image/png") + _END, path=path)
        yield _form(f"a head without colon {where}", _part(b"image/png") + _END, path=path)
        yield _form(
            f"a text {where}",
            _part(b'Content-Disposition: form-data; name="' + name + b'"') + _END,
            path=path,
        )
        yield _form(f"another field {where}", _file(b"picture") + _END, path=path)
        yield _form(f"a field in capitals {where}", _file(name.upper()) + _END, path=path)
        yield _form(f"a huge head {where}", _file(b"x" * 100_000) + _END, path=path)
        texts = b"".join(
            _part(b'Content-Disposition: form-data; name="t"', b"1") + b"\r\n" for _ in range(1000)
        )
        yield _form(f"1000 texts {where}", texts + _file(name) + _END, path=path)
        yield _form(f"2000 files {where}", (_file(name, content=b"1") + b"\r\n") * 2000 + _END, path=path)
    yield _form("the image twice", _file() + b"\r\n" + _file() + _END)
    yield _form(
        "a text and a file of one name",
        _part(b'Content-Disposition: form-data; name="image"', b"1") + b"\r\n" + _file(b"other") + _END,
    )
    yield _form("nothing in the file", _file(content=b"") + _END)
    yield _form("no image in the file", _file(content=b"text") + _END)
    yield _form("a form in a form", _file(content=_file() + b"\r\n--y--\r\n") + _END)
    encoded = (
        b'Content-Disposition: form-data; name="image"; filename="a"\r\nContent-Transfer-Encoding: base64'
    )
    yield _form("base64", _part(encoded, b"iVBORw0KGgo=") + _END)


def misleading_names() -> Iterator[Upload]:
    """An honest image under a name made to mislead, or in an alphabet made to break: it is a label, nothing else."""
    names = (
        b"../../../etc/passwd",
        b"/etc/passwd",
        b"C:\\\\a.png",
        b"a\0b.png",
        b"\xff\xfe",
        b"%00",
        b"x" * 3000,
    )
    for filename in (
        *names,
        b"",
        b"a.php",
        b"<script>alert(1)</script>",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"+2AA-",
    ):
        yield _form(f"called {filename[:20]!r}", _file(filename=filename) + _END, TAKEN)
        for charset in (
            "unicode_escape",
            "utf-7",
            "utf-16",
            "idna",
            "punycode",
            "undefined",
            "hex",
            "\0",
            "nowhere",
        ):
            yield _form(
                f"called {filename[:20]!r} in {charset!r}",
                _file(filename=filename) + _END,
                TAKEN | REFUSED,
                type_end=f"boundary=x; charset={charset}",
            )


FORMS: Final[tuple[Family, ...]] = (wrong_boundaries, wrong_fields, misleading_names)
