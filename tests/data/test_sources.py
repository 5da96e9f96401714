"""Opening a data folder: both layouts, and the message for each way that file names can be wrong."""

from pathlib import Path

import pytest

from data.manifest import DatasetError, Sample
from data.sources import flat_samples, open_dataset, survey_folder

CLASSES = "0 background\n1 scratch\n"
NESTED = (
    "images/train/a.jpg",
    "masks/train/a.png",
    "images/val/b.png",
    "masks/val/b.png",
    "images/test/c.tif",
    "masks/test/c.png",
)
FLAT = ("images/a.jpg", "masks/a.png", "images/b.jpg", "masks/b.png")


def folder_of(root: Path, *files: str, **texts: str) -> Path:
    """Empty files, since opening reads names only; classes.txt and the like as text."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / "classes.txt").write_text(texts.get("classes", CLASSES))
    if "table" in texts:
        (root / "split.csv").write_text(texts["table"])
    return root


def names_of(samples: tuple[Sample, ...]) -> list[tuple[str, str]]:
    return [(sample.split, sample.name) for sample in samples]


def test_folders_give_the_split_and_come_in_life_order(tmp_path: Path) -> None:
    manifest = open_dataset(folder_of(tmp_path, *NESTED, "images/night/d.jpg", "masks/night/d.png"))
    assert names_of(manifest.samples) == [("train", "a"), ("val", "b"), ("test", "c"), ("night", "d")]
    assert manifest.splits == ("train", "val", "test", "night")
    assert manifest.class_map.names == ("background", "scratch")
    assert manifest.samples[0].image == tmp_path / "images/train/a.jpg"
    assert manifest.samples[0].mask == tmp_path / "masks/train/a.png"


def test_a_table_gives_split_and_group_of_a_flat_folder(tmp_path: Path) -> None:
    root = folder_of(tmp_path, *FLAT, table="name,split,group\nb.jpg,train,plate7\na,val,\n")
    assert [(s.name, s.split, s.group) for s in open_dataset(root).samples] == [
        ("b", "train", "plate7"),
        ("a", "val", None),
    ]


def test_a_table_beside_split_folders_gives_groups_only(tmp_path: Path) -> None:
    root = folder_of(tmp_path, *NESTED, table="name,group\na,plate1\nb,plate2\n")
    assert [sample.group for sample in open_dataset(root).samples] == ["plate1", "plate2", None]


def test_what_file_managers_leave_behind_is_no_data(tmp_path: Path) -> None:
    root = folder_of(
        tmp_path, *NESTED, "images/train/Thumbs.db", "images/train/.DS_Store", "images/.cache/x.jpg"
    )
    survey = survey_folder(root)
    assert survey.problems == ()
    assert len(survey.samples) == 3


@pytest.mark.parametrize(
    ("files", "texts", "named", "remedy"),
    [
        pytest.param(
            ("images/train/z.jpg",), {}, "z.jpg: has no mask", "--unlabeled-is-background", id="mask"
        ),
        pytest.param(("images/train/a.png",), {}, "has the same name as a.png", "Rename", id="twins"),
        pytest.param(
            ("images/train/z.jpg", "masks/train/z.jpg"), {}, "is no PNG", "index PNG", id="mask-is-jpeg"
        ),
        pytest.param(
            ("images/valid/z.jpg", "masks/valid/z.png"),
            {},
            "valid: is no split",
            "rename it to val",
            id="valid",
        ),
        pytest.param(("images/z.jpg",), {}, "both images and folders", "images/train", id="flat-and-nested"),
        pytest.param((), {"classes": "nonsense"}, "classes.txt", "0 background", id="classes"),
        pytest.param((), {"table": "file,group\na,1\n"}, "no column name", "name,split", id="table"),
    ],
)
def test_an_error_names_the_file_and_the_remedy(
    tmp_path: Path, files: tuple[str, ...], texts: dict[str, str], named: str, remedy: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder_of(tmp_path, *NESTED, *files, **texts))
    assert named in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(None, "split.csv: this file is missing", id="missing"),
        pytest.param("name\na\nb\n", "no column split", id="no-split-column"),
        pytest.param("name,split\na,train\na.jpg,val\nb,val\n", "names 'a' twice", id="twice"),
        pytest.param("name,split\na,train\nb,\n", "gives 'b' no split", id="empty-split"),
        pytest.param("name,split\na,train\nb,val\nghost,test\n", "names 'ghost'", id="ghost"),
        pytest.param("name,split\na,train\nb\n", "line 3: 1 cells, but the header has 2", id="short-row"),
    ],
)
def test_a_flat_folder_needs_a_table_that_fits(tmp_path: Path, table: str | None, message: str) -> None:
    root = folder_of(tmp_path, *FLAT, **({} if table is None else {"table": table}))
    with pytest.raises(DatasetError, match=message.replace("(", r"\(")):
        open_dataset(root)


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        pytest.param(b"\xef\xbb\xbfname;split\r\na;train\r\nb;val\r\n", ";", id="excel"),
        pytest.param(b"Name, Split\n\na, train\nb, val\n", ",", id="spaces-and-capitals"),
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, content: bytes, delimiter: str) -> None:
    root = folder_of(tmp_path, *FLAT)
    (root / "split.csv").write_bytes(content)
    assert names_of(open_dataset(root).samples) == [("train", "a"), ("val", "b")]


@pytest.mark.parametrize(
    ("files", "texts", "message"),
    [
        pytest.param(("masks/train/z.png",), {}, "z.png: has no image", id="mask-alone"),
        pytest.param(("masks/extra/z.png",), {}, "has no folder images/extra", id="mask-folder-alone"),
        pytest.param(("images/train/notes.txt",), {}, "is no image: not used", id="other-file"),
        pytest.param((), {"table": "name,split\na,val\n"}, "puts 1 images elsewhere", id="table-differs"),
        pytest.param(
            (),
            {"table": "name,tile,size\na,t1,3\n"},
            "has no column group, and tile, size are not read",
            id="parts-under-another-name",
        ),
    ],
)
def test_a_doubt_is_a_warning_and_opens(
    tmp_path: Path, files: tuple[str, ...], texts: dict[str, str], message: str
) -> None:
    root = folder_of(tmp_path, *NESTED, *files, **texts)
    assert len(open_dataset(root).samples) == 3
    (problem,) = survey_folder(root).problems
    assert problem.severity == "warning"
    assert message in str(problem)


def test_many_errors_are_counted_and_the_first_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path, *NESTED, *(f"images/train/x{number}.jpg" for number in range(7)))
    with pytest.raises(DatasetError, match=r"7 errors") as caught:
        open_dataset(root)
    assert "x4.jpg" in str(caught.value)
    assert "x5.jpg" not in str(caught.value)
    assert "2 more" in str(caught.value)


def test_a_folder_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: there is no such folder"):
        open_dataset(tmp_path / "nowhere")


def test_an_unsplit_folder_still_lists_its_pairs(tmp_path: Path) -> None:
    assert [sample.name for sample in flat_samples(folder_of(tmp_path, *FLAT))] == ["a", "b"]


def test_real_data_open(magnetic_tile: Path) -> None:
    manifest = open_dataset(magnetic_tile)
    assert {split: len(manifest.split(split)) for split in manifest.splits} == {
        "train": 928,
        "val": 142,
        "test": 270,
    }
