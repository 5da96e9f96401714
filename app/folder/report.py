"""The report of an inspection: one HTML file that a quality engineer opens, filters and prints.

Everything but the overlays it links to is inside: style, charts (SVG), thumbnails, and a few lines of script that
draw the gallery page by page, so that ten thousand parts open at once. It needs no network.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2.utils import htmlsafe_json_dumps

from app.folder.inspection import Inspection
from app.folder.report_charts import heat_map, pareto, size_histogram
from app.folder.tables import Facts
from app.folder.tally import Tally, take_tally
from data.classes import ClassMap
from data.files import open_atomically
from data.page import render_page

_TEMPLATE: Final = Path(__file__).parent / "templates" / "inspection.html.j2"


def write_report(
    out: Path,
    inspections: Iterable[Inspection],
    *,
    class_map: ClassMap,
    mm_per_px: float | None,
    title: str,
    facts: Facts,
) -> Path:
    """Write OUT/report.html and return it.

    Args:
        out: the output folder; thumbnails are read from it, and links lead below it.
        inspections: in the order of their keys; gone through several times.
        mm_per_px: None shows sizes in px.
        title: what was inspected.
        facts: what it was inspected with.

    Raises:
        OSError: the file cannot be written, or a thumbnail that is there cannot be read.
    """
    tally = take_tally(inspections, class_map=class_map, mm_per_px=mm_per_px)
    pieces = render_page(
        _TEMPLATE,
        title=title,
        subtitle=f"Inspection · {facts.finished_at:%d %B %Y} · {facts.model_name}",
        lede=_in_words(tally),
        notes=(),
        tiles=_tiles(tally),
        charts={
            "pareto": pareto(tally.defects, class_map=class_map),
            "sizes": size_histogram(tally.sizes, unit="px" if mm_per_px is None else "mm²"),
            "places": heat_map(tally.places, frame_wh=tally.frame_wh),
        },
        classes=[
            {"id": class_id, "count": tally.defects[class_id], **class_map.classes[class_id].model_dump()}
            for class_id in class_map.defect_ids
        ],
        reasons=tally.reasons,
        shown=tally.verdicts["NG"] + tally.verdicts["REVIEW"],
        parts=(htmlsafe_json_dumps(part) for part in _gallery(out, inspections)),
        not_judged=tally.not_judged,
        provenance=_provenance(facts, mm_per_px=mm_per_px),
    )
    path = out / "report.html"
    with open_atomically(path) as file:
        file.writelines(piece.encode() for piece in pieces)
    return path


def _in_words(tally: Tally) -> str:
    """The one sentence somebody reads who reads no more."""
    if not tally.images:
        return "There was no image to inspect."
    said = "No part was judged."
    if tally.judged:
        ok, ng, review = (f"{tally.verdicts[verdict]:,}" for verdict in ("OK", "NG", "REVIEW"))
        said = f"Of {tally.judged:,} judged parts {ok} are OK, {ng} NG and {review} REVIEW."
    errors = tally.verdicts["ERROR"]
    return f"{said} Not judged: {errors:,}." if errors else said


def _tiles(tally: Tally) -> list[dict[str, Any]]:
    def share(count: int) -> str:
        return f"{count / tally.judged:.1%} of the judged" if tally.judged else "none judged"

    ok, ng, review = (tally.verdicts[verdict] for verdict in ("OK", "NG", "REVIEW"))
    told = (
        ("Yield", tally.yield_share, True, f"{ok:,} OK of {tally.judged:,} judged"),
        ("NG", ng, False, share(ng)),
        ("REVIEW", review, False, share(review)),
        ("Defects", sum(tally.defects.values()), False, "that the recipe counts"),
        ("Not judged", tally.verdicts["ERROR"], False, f"of {tally.images:,} images"),
    )
    return [
        {"name": name, "value": value, "is_share": is_share, "detail": detail}
        for name, value, is_share, detail in told
    ]


def _gallery(out: Path, inspections: Iterable[Inspection]) -> Iterator[Mapping[str, Any]]:
    """What the page's script draws of each NG and REVIEW part."""
    for one in inspections:
        if one.verdict in ("NG", "REVIEW"):
            yield {
                "key": one.key,
                "verdict": one.verdict,
                "classes": sorted({defect.class_id for defect in one.defects}),
                "reasons": "; ".join(one.reasons),
                # With the dot no name can lead to another host, whatever it begins with.
                "link": None if one.overlay is None else f"./{quote(one.overlay)}",
                "jpeg": None if one.thumbnail is None else _base64(out / one.thumbnail),
            }


def _base64(path: Path) -> str | None:
    """A file's content as text; None for one that is gone, since the report is worth having without it."""
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except FileNotFoundError:
        return None


def _provenance(facts: Facts, *, mm_per_px: float | None) -> list[tuple[str, str]]:
    version = f", version {facts.model_version}" if facts.model_version else ""
    rows = [
        ("Model", f"{facts.model_name}{version}"),
        ("Model digest", facts.model_sha256),
        ("Recipe", facts.recipe_name),
        ("Recipe digest", facts.recipe_sha256),
        ("Scale", "unknown: sizes are in px" if mm_per_px is None else f"{mm_per_px:.6g} mm per px"),
        ("Computed by", facts.provider),
        ("Started", f"{facts.started_at:%Y-%m-%d %H:%M:%S %Z}"),
        ("Finished", f"{facts.finished_at:%Y-%m-%d %H:%M:%S %Z}"),
    ]
    if facts.images_per_s is not None:
        rows.append(("Speed", f"{facts.images_per_s:.3g} images/s"))
    return rows
