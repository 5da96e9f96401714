"""`segnet predict`: which defects are in these images?"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import Model, Store

if TYPE_CHECKING:
    from data.regions import Region
    from model.predictor import Predictor


def command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images of any size and format.")],
    model: Model,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where masks and overlays go.")],
    store: Store = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "openvino"], typer.Option(help="What computes.")
    ] = "auto",
    require_device: Annotated[
        bool, typer.Option("--require-device", help="Stop when that device is not there; else use the CPU.")
    ] = False,
) -> None:
    """Find defects in images with a model, and say OK or NG of each.

    Writes DIR/NAME.png (a mask of class ids) and DIR/NAME-overlay.jpg, and prints a line per image. Images
    that cannot be read are named at the end, with exit code 1; the others are done all the same.
    """
    from data.images import ImageError
    from model.locate import locate_model
    from model.predictor import Predictor

    check_names(images, out=out)
    predictor = Predictor.open(locate_model(model, store=store), device=device, require=require_device)
    out.mkdir(parents=True, exist_ok=True)
    ng_images, unreadable = 0, list[str]()
    for path in images:
        try:
            defects = judge(path, predictor=predictor, out=out)
        except ImageError as error:
            unreadable.append(str(error) if str(path) in str(error) else f"{path}: {error}")
        except OSError as error:
            if error.filename is None or Path(error.filename) != path:
                raise
            unreadable.append(f"{path}: {error.strerror}")
        else:
            ng_images += bool(defects)
            typer.echo(line(path, defects=defects, names=predictor.contract.classes.names))
    judged = len(images) - len(unreadable)
    typer.echo(f"{judged} judged, {ng_images} NG, on {predictor.provider}; masks and overlays in {out}")
    for message in unreadable:
        typer.secho("not read: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
        typer.echo(message, err=True)
    if unreadable:
        raise typer.Exit(1)


def check_names(images: Sequence[Path], *, out: Path) -> None:
    """Refuse what would write one file over another.

    Raises:
        ValueError: two images share a name, or a result would replace an image.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        # On some file systems A.png and a.png are one file.
        by_name[path.stem.casefold()].append(path)
    for alike in by_name.values():
        if len(alike) > 1:
            raise ValueError(
                f"{alike[0]} and {alike[1]} would both be written as {alike[0].stem}.png; "
                "give them in two calls with two --out folders"
            )
    given = {path.resolve() for path in images}
    for path in images:
        for result in results_of(path, out=out):
            if result.resolve() in given:
                raise ValueError(f"--out {out}: {result.name} would replace an image; give another folder")


def results_of(path: Path, *, out: Path) -> tuple[Path, Path]:
    """Where an image's mask and overlay go."""
    return out / f"{path.stem}.png", out / f"{path.stem}-overlay.jpg"


def judge(path: Path, *, predictor: "Predictor", out: Path) -> "list[Region]":
    """Write the mask and the overlay of one image, and return the defects that count."""
    from data.files import write_atomically
    from data.images import encode_jpeg, read_image
    from data.masks import encode_labels, overlay

    image = read_image(path)
    prediction = predictor.predict(image)
    class_map = predictor.contract.classes
    mask_path, overlay_path = results_of(path, out=out)
    write_atomically(mask_path, encode_labels(prediction.labels, class_map))
    write_atomically(overlay_path, encode_jpeg(overlay(image, prediction.labels, class_map)))
    return predictor.find_defects(prediction)


def line(path: Path, *, defects: "Sequence[Region]", names: Sequence[str]) -> str:
    """One image in one line: verdict, file, and its defects by class, with their number and the largest."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for region in defects:
        by_class[region.class_id].append(region.area_px)
    told = [
        f"{len(areas_px)} {names[class_id]} ({'largest ' if len(areas_px) > 1 else ''}{max(areas_px)} px)"
        for class_id, areas_px in by_class.items()
    ]
    return "  ".join(["NG" if defects else "OK", str(path), *([", ".join(told)] if told else [])])
