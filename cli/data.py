"""`segnet data …`: look at a data set, bring a foreign one in, deal images to train, val and test, keep versions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import data_versions

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from data.doctor import DoctorReport, SplitFacts
    from data.manifest import Problem

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Check, import, split and version labelled images."
)
app.add_typer(data_versions.app)

_SHOWN_PER_KIND = 5


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with images/, masks/ and classes.txt.")
    ],
    sheet: Annotated[
        Path | None, typer.Option(help="Where the contact sheet goes; default: NAME-contact-sheet.png, here.")
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Draw no contact sheet.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List every problem, not the first of a kind.")
    ] = False,
) -> None:
    """Say all that is wrong with a data set before hours go into training on it.

    Prints a table per split and each problem with its file and remedy, and draws a contact sheet.
    Exit code 1: training would be wrong. Warnings alone leave it 0.
    """
    from data.contact_sheet import contact_sheet
    from data.doctor import check_dataset
    from data.images import encode_png

    console = _console()
    with _progress(console, "Reading") as advance:
        report = check_dataset(folder, on_progress=advance)
    if report.splits:
        console.print(_table(report))
    _print_problems(console, report.errors, heading="[bold red]error[/]", everything=everything)
    _print_problems(console, report.warnings, heading="[bold yellow]warning[/]", everything=everything)
    if report.manifest is not None and report.manifest.samples and not no_sheet:
        path = sheet or Path(f"{folder.resolve().name}-contact-sheet.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(contact_sheet(report.manifest)))
        console.print(f"contact sheet: {path}", highlight=False, soft_wrap=True)
    errors, warnings = len(report.errors), len(report.warnings)
    verdict = "[bold red]not fit for training[/]" if errors else "[bold green]fit for training[/]"
    console.print(f"{verdict}: {_count(errors, 'error')}, {_count(warnings, 'warning')}", highlight=False)
    if errors:
        raise typer.Exit(1)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="What the labelling tool exported.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new folder; never overwritten.")],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="folder (images/ + masks/, also coloured masks), coco, labelme; with the extra `formats` "
            "whatever Datumaro reads: cvat, voc, cityscapes, …",
        ),
    ],
    classes: Annotated[
        Path | None, typer.Option(help="classes.txt that fixes names, order and colours.", dir_okay=False)
    ] = None,
    colors: Annotated[
        Path | None,
        typer.Option(help="Colour map of RGB masks: lines such as `scratch 255 0 0`.", dir_okay=False),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Put all images into this split.")] = None,
    unlabeled_is_background: Annotated[
        bool,
        typer.Option(
            "--unlabeled-is-background", help="Images without a mask show no defect (else they are errors)."
        ),
    ] = False,
) -> None:
    """Turn a foreign data set into images/, masks/ and classes.txt, as training reads them."""
    from data.formats import ImportSettings, import_dataset

    console = _console()
    settings = ImportSettings(
        classes=classes, colors=colors, split=split, unlabeled_is_background=unlabeled_is_background
    )
    with console.status("Importing") as status:
        imported = import_dataset(
            source,
            destination=destination,
            format_name=format_name,
            settings=settings,
            on_done=lambda done: status.update(f"Importing: {_count(done, 'image')}"),
        )
    names = ", ".join(imported.class_map.names)
    console.print(
        f"{destination}: {_count(imported.images, 'image')}; classes {names}", highlight=False, soft_wrap=True
    )
    step = "check" if imported.has_splits else "split"
    console.print(f"next: segnet data {step} {destination}", highlight=False, soft_wrap=True)


@app.command()
def split(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Flat folder: images/, masks/, classes.txt.")],
    fractions: Annotated[
        str, typer.Option(metavar="TRAIN,VAL,TEST", help="Shares of the images; they add up to 1.")
    ] = "0.7,0.1,0.2",
    seed: Annotated[int, typer.Option(help="Another seed, another deal.")] = 0,
    group_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help=r"The part's name in the file name, in brackets: '(plate\d+)_'."),
    ] = None,
    group_table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Table with the columns name and --group-column.")
    ] = None,
    group_column: Annotated[
        str, typer.Option(metavar="NAME", help="Its column that names the part.")
    ] = "group",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace split.csv.")] = False,
) -> None:
    """Write split.csv: whole groups on one side, rare defects on every side, the same each time."""
    from collections import Counter

    from data.manifest import SPLITS, DatasetError
    from data.splits import split_folder
    from data.tables import SPLIT_FILE

    console = _console()
    try:
        shares = [float(share) for share in fractions.split(",")]
        wanted = dict(zip(SPLITS, shares, strict=True))
    except ValueError as error:
        raise DatasetError(f"--fractions {fractions}: expected three numbers such as 0.7,0.1,0.2") from error
    if group_pattern is not None and group_table is not None:
        raise DatasetError("--group-pattern and --group-table: give one of them")
    has_table = (folder / SPLIT_FILE).exists()
    dealt = split_folder(
        folder,
        fractions={name: share for name, share in wanted.items() if share > 0},
        seed=seed,
        group_pattern=group_pattern,
        group_table=group_table,
        group_column=group_column,
        overwrite=overwrite,
    )
    counts = Counter(dealt.values())
    listed = ", ".join(f"{counts[name]} {name}" for name in SPLITS if counts[name])
    console.print(f"{folder / SPLIT_FILE}: {listed}", highlight=False, soft_wrap=True)
    if group_pattern is None and group_table is None:
        known = f"groups are those of the former {SPLIT_FILE}, if it had any" if has_table else "no groups"
        console.print(f"{known}: if parts were photographed twice, give --group-pattern", soft_wrap=True)
    console.print(f"next: segnet data check {folder}", highlight=False, soft_wrap=True)


def _console() -> "Console":
    from rich.console import Console

    return Console()


@contextmanager
def _progress(console: "Console", what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar in a terminal that goes away when done; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _table(report: "DoctorReport") -> "Table":
    """A column per split; rows: images, those without a defect, share of each class in %, range of sizes."""
    from rich.table import Table

    table = Table(title=str(report.root), title_justify="left")
    table.add_column("")
    for facts in report.splits:
        table.add_column(facts.split, justify="right")
    table.add_row("images", *(str(facts.images) for facts in report.splits))
    table.add_row(
        "without a defect", *(str(facts.without_defect) for facts in report.splits), end_section=True
    )
    for class_id, name in enumerate(report.class_names):
        cells = [_share(facts, class_id) for facts in report.splits]
        table.add_row(f"{class_id} {name}", *cells, end_section=class_id + 1 == len(report.class_names))
    table.add_row("ignored pixels", *(str(facts.ignored_pixels) for facts in report.splits))
    for label, sizes in (
        ("smallest (w x h)", [facts.smallest_hw for facts in report.splits]),
        ("largest (w x h)", [facts.largest_hw for facts in report.splits]),
    ):
        table.add_row(label, *(f"{size[1]} x {size[0]}" if size else "-" for size in sizes))
    table.caption = "classes: share of labelled pixels (images that show it)"
    return table


def _share(facts: "SplitFacts", class_id: int) -> str:
    share, images = facts.class_shares[class_id], facts.class_images[class_id]
    return "-" if share is None or not images else f"{100 * share:.3g} % ({images})"


def _print_problems(
    console: "Console", problems: Sequence["Problem"], *, heading: str, everything: bool
) -> None:
    """Each problem on its own line; of many with the same remedy the first few, then a count."""
    from rich.markup import escape

    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.todo, []).append(problem)
    for todo, alike in kinds.items():
        shown = alike if everything else alike[:_SHOWN_PER_KIND]
        for problem in shown:
            console.print(
                f"{heading} {escape(str(problem.file))}: {escape(problem.what)}",
                highlight=False,
                soft_wrap=True,
            )
        if len(alike) > len(shown):
            console.print(
                f"  … and {len(alike) - len(shown)} more of this kind (--all lists them)", highlight=False
            )
        console.print(f"  [dim]→ {escape(todo)}[/]", highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
