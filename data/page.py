"""The page that every report is: one file that needs no network, prints well, and is light or dark as its reader is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_page(template: Path, **values: Any) -> Iterator[str]:
    """The page piece by piece, so that one larger than memory can be written; every text in it is escaped.

    `template` extends `page.html.j2`, which draws `title`, `subtitle`, `lede`, `notes` and `tiles`, each tile
    with `name`, `detail`, and a `value` that is a share where `is_share` says so.

    Raises:
        jinja2.UndefinedError: a value that the template uses is not given.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template.name).generate(**values)
