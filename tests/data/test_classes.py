"""Class maps: what ids mean, written and read without loss."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.classes import IGNORE_LABEL, ClassMap, ClassSpec, Role

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip())
SPECS = st.builds(
    ClassSpec,
    name=NAMES,
    color=st.tuples(*[st.integers(0, 255)] * 3),
    role=st.sampled_from(["background", "defect"]),
)


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_first_class_and_any_named_background_are_background_and_the_rest_are_defects() -> None:
    class_map = ClassMap.from_names(["steel", "scratch", "Background", "dent"])
    assert class_map.background_ids == (0, 2)
    assert class_map.defect_ids == (1, 3)
    assert class_map.names == ("steel", "scratch", "Background", "dent")
    assert len(class_map) == 4
    assert class_map.index_of("dent") == 3


def test_default_colours_differ_for_forty_classes_and_the_first_is_black() -> None:
    colors = [spec.color for spec in ClassMap.from_names(f"class {number}" for number in range(40)).classes]
    assert colors[0] == (0, 0, 0)
    assert len(set(colors)) == 40


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no class 'dent'; the classes are background, scratch"):
        ClassMap.from_names(["background", "scratch"]).index_of("dent")


def test_a_short_and_a_full_line_read_as_written(tmp_path: Path) -> None:
    path = _written(tmp_path, "# remark\n0 background\n\n1 scratch defect #ff8000\n2 die mark background\n")
    class_map = ClassMap.read(path)
    assert class_map.classes[1] == ClassSpec(name="scratch", color=(255, 128, 0), role="defect")
    assert class_map.names == ("background", "scratch", "die mark")
    assert class_map.background_ids == (0, 2)


@pytest.mark.parametrize(
    ("line", "name", "role"),
    [
        pytest.param("1 defect", "defect", "defect", id="a class may be called defect"),
        pytest.param("1 defect defect", "defect", "defect", id="and say so"),
        pytest.param("1 #ff0000", "#ff0000", "defect", id="a colour alone is the name"),
        pytest.param("1   scratch   background", "scratch", "background", id="many spaces"),
        pytest.param("1\tscratch\tdefect", "scratch", "defect", id="tabs"),
    ],
)
def test_role_and_colour_are_taken_from_the_end_of_a_line(
    tmp_path: Path, line: str, name: str, role: str
) -> None:
    spec = ClassMap.read(_written(tmp_path, f"0 background\n{line}\n")).classes[1]
    assert (spec.name, spec.role) == (name, role)


def test_a_byte_order_mark_does_not_become_part_of_the_first_line(tmp_path: Path) -> None:
    path = _written(tmp_path, "\ufeff0 background\r\n1 scratch\r\n")
    assert ClassMap.read(path).names == ("background", "scratch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("0 background\n2 scratch\n", "line 2: id 2, expected 1", id="gap"),
        pytest.param("background\n", "line 1: 'background' is no class", id="no id"),
        pytest.param("0 background\n1\n", "line 2: '1' is no class", id="no name"),
        pytest.param("0 a\n1 b\n2 b\n", "b twice", id="twice"),
        pytest.param("# nothing\n", "0 classes", id="empty"),
        pytest.param("".join(f"{n} c{n}\n" for n in range(256)), "256 classes", id="too many"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        ClassMap.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("0 gehäuse\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        ClassMap.read(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ClassMap.read(tmp_path / "classes.txt")


@settings(deadline=None)
@given(specs=st.lists(SPECS, min_size=1, max_size=8, unique_by=lambda spec: spec.name))
def test_text_and_json_give_back_the_same_map(
    specs: list[ClassSpec], tmp_path_factory: pytest.TempPathFactory
) -> None:
    class_map = ClassMap(classes=tuple(specs))
    path = tmp_path_factory.getbasetemp() / "classes.txt"
    path.write_text(class_map.to_text(), encoding="utf-8")
    assert ClassMap.read(path) == class_map
    assert ClassMap.model_validate_json(class_map.model_dump_json()) == class_map


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param([], id="none"),
        pytest.param([{"name": "a", "color": [0, 0, 256], "role": "defect"}], id="colour out of range"),
        pytest.param([{"name": "a", "color": [0, 0, 0], "role": "bad"}], id="unknown role"),
        pytest.param([{"name": " a", "color": [0, 0, 0], "role": "defect"}], id="space before the name"),
        pytest.param([{"name": "a\nb", "color": [0, 0, 0], "role": "defect"}], id="two lines"),
        pytest.param([{"name": "a", "color": [0, 0, 0], "role": "defect", "id": 3}], id="unknown key"),
        pytest.param([{"name": "a", "color": [0, 0, 0], "role": "defect"}] * 2, id="twice"),
    ],
)
def test_a_map_that_means_nothing_is_refused(classes: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        ClassMap.model_validate({"classes": classes})


def test_a_map_cannot_be_changed_and_leaves_255_free() -> None:
    class_map = ClassMap.from_names(f"class {number}" for number in range(255))
    assert IGNORE_LABEL not in class_map.defect_ids
    with pytest.raises(ValidationError):
        class_map.classes = ()


def test_widening_keeps_the_first_classes_and_appends_what_comes_new_by_name() -> None:
    first = ClassMap.from_names(["background", "scratch"])
    second = ClassMap(
        classes=(ClassSpec(name="scratch", color=(1, 2, 3), role="defect"), *_named("fray", "pit"))
    )
    wide = first.widened(second, ClassMap(classes=_named("pit", "oil", role="background")))
    assert wide.names == ("background", "scratch", "fray", "pit", "oil")
    assert wide.classes[:2] == first.classes
    assert [spec.role for spec in wide.classes[2:]] == ["defect", "defect", "background"]
    assert first.widened() == first


def test_a_new_class_keeps_its_colour_and_gets_a_free_one_where_it_is_taken() -> None:
    """The default one of its new id is taken as well."""
    colors = [spec.color for spec in ClassMap.from_names(map(str, range(5))).classes]
    first = ClassMap(
        classes=(
            ClassSpec(name="background", color=(0, 0, 0), role="background"),
            ClassSpec(name="scratch", color=colors[2], role="defect"),
        )
    )
    other = ClassMap(
        classes=(
            ClassSpec(name="fray", color=colors[2], role="defect"),
            ClassSpec(name="pit", color=(9, 9, 9), role="defect"),
        )
    )
    assert [spec.color for spec in first.widened(other).classes] == [
        (0, 0, 0), colors[2], colors[3], (9, 9, 9),
    ]  # fmt: skip


def test_classes_of_two_roles_are_told_as_they_are_in_either_map() -> None:
    first = ClassMap.from_names(["background", "scratch", "oil"])
    other = ClassMap(classes=(*_named("fray"), *_named("oil", "background", role="background")))
    assert first.role_conflicts(other) == ((first.classes[2], other.classes[1]),)
    assert first.role_conflicts(first) == ()


def _named(*names: str, role: Role = "defect") -> tuple[ClassSpec, ...]:
    return tuple(ClassSpec(name=name, color=(7, 7, len(name)), role=role) for name in names)
