"""What the integer 2 in a mask means: a class's name, its colour in pictures, and whether it is a defect."""

import colorsys
import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

IGNORE_LABEL: Final = 255
"""The label of pixels nobody should learn from or be judged on."""

Role = Literal["background", "defect"]
Color = tuple[int, int, int]

_Channel = Annotated[int, Field(ge=0, le=255)]
_MOST_CLASSES: Final = IGNORE_LABEL
# Loud on grey metal, and told apart by most colour-blind eyes for the first five.
_PALETTE: Final[tuple[Color, ...]] = (
    (255, 64, 64),
    (255, 176, 0),
    (0, 200, 255),
    (180, 80, 255),
    (240, 228, 66),
    (120, 220, 60),
    (255, 105, 180),
    (60, 110, 255),
)
_LINE: Final = re.compile(
    r"(?P<id>\d+)\s+(?P<name>\S.*?)(?:\s+(?P<role>background|defect))?(?:\s+#(?P<color>[0-9a-fA-F]{6}))?"
)


class ClassSpec(BaseModel):
    """One class: `name` as reports print it, `color` (red, green, blue) 0-255, and its `role`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    color: tuple[_Channel, _Channel, _Channel]
    role: Role

    @field_validator("name")
    @classmethod
    def _is_one_plain_line(cls, name: str) -> str:
        if not name or name != name.strip() or not name.isprintable():
            raise ValueError(f"{name!r} is no class name; expected printable text, no space at either end")
        return name


class ClassMap(BaseModel):
    """All classes of a data set or a model; the position of a class is its id in masks.

    Travels inside the model file, so the names an inspector reads are those that were trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[ClassSpec, ...]

    @field_validator("classes")
    @classmethod
    def _are_told_apart(cls, classes: tuple[ClassSpec, ...]) -> tuple[ClassSpec, ...]:
        if not 1 <= len(classes) <= _MOST_CLASSES:
            raise ValueError(
                f"{len(classes)} classes; expected 1 to {_MOST_CLASSES}, since {IGNORE_LABEL} means ignore"
            )
        names = [spec.name for spec in classes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"class named twice: {', '.join(twice)}; give each class its own name")
        return classes

    @classmethod
    def from_names(cls, names: Iterable[str]) -> Self:
        """Classes in this order with default colours; background are the first, and any named background.

        Raises:
            ValueError: no name, an empty one, or one twice.
        """
        return cls(
            classes=tuple(
                ClassSpec(name=name, color=_default_color(class_id), role=_default_role(name, class_id))
                for class_id, name in enumerate(names)
            )
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read classes.txt, one class a line: `0 background`, `1 scratch defect #ff0000`; # starts a remark.

        Role and colour may be left out. Ids count up from 0, so that a lost line is noticed.

        Raises:
            ValueError: a line that is no class, an id out of order, a name twice; names file and line.
            OSError: the file cannot be read; FileNotFoundError where there is none.
        """
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
        return cls.from_text(text, origin=str(path))

    @classmethod
    def from_text(cls, text: str, *, origin: str) -> Self:
        """Parse what `to_text` gives, or a classes.txt of `read`; `origin` is for messages. Raises ValueError."""
        specs: list[ClassSpec] = []
        for number, line in enumerate(text.splitlines(), start=1):
            line = line.strip()
            if line and not line.startswith("#"):
                specs.append(_parse_line(line, class_id=len(specs), where=f"{origin}, line {number}"))
        names = [spec.name for spec in specs]
        if not specs or len(specs) > _MOST_CLASSES or len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            what = f"{', '.join(twice)} twice" if twice else f"{len(specs)} classes"
            raise ValueError(f"{origin}: {what}; expected 1 to {_MOST_CLASSES} classes of different names")
        return cls(classes=tuple(specs))

    def to_text(self) -> str:
        """The content of a classes.txt that `read` turns into this very map."""
        return "".join(
            f"{class_id} {spec.name} {spec.role} #{bytes(spec.color).hex()}\n"
            for class_id, spec in enumerate(self.classes)
        )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return tuple(spec.name for spec in self.classes)

    @property
    def defect_ids(self) -> tuple[int, ...]:
        """Ids of the classes that make a part bad, ascending."""
        return self._ids_of("defect")

    @property
    def background_ids(self) -> tuple[int, ...]:
        """Ids of the classes that a good part may show, ascending."""
        return self._ids_of("background")

    def index_of(self, name: str) -> int:
        """The id of a class.

        Raises:
            ValueError: no class of that name; lists those there are.
        """
        if name not in self.names:
            raise ValueError(f"no class {name!r}; the classes are {', '.join(self.names)}")
        return self.names.index(name)

    def widened(self, *others: Self) -> Self:
        """These classes, whose ids stay, and then what the others know besides, by name and in their order.

        A class that comes new and whose colour is taken gets a free one.

        Raises:
            ValueError: more classes than a mask can hold.
        """
        specs = {spec.name: spec for spec in self.classes}
        for spec in chain.from_iterable(other.classes for other in others):
            if spec.name not in specs:
                taken = {known.color for known in specs.values()}
                colors = chain((spec.color,), map(_default_color, count(len(specs))))
                free = next(color for color in colors if color not in taken)
                specs[spec.name] = spec.model_copy(update={"color": free})
        return type(self)(classes=tuple(specs.values()))

    def role_conflicts(self, other: Self) -> tuple[tuple[ClassSpec, ClassSpec], ...]:
        """The classes that are a defect in one map and none in the other: as they are here, and there."""
        theirs = {spec.name: spec for spec in other.classes}
        shared = ((spec, theirs[spec.name]) for spec in self.classes if spec.name in theirs)
        return tuple((here, there) for here, there in shared if here.role != there.role)

    def _ids_of(self, role: Role) -> tuple[int, ...]:
        return tuple(class_id for class_id, spec in enumerate(self.classes) if spec.role == role)


def _parse_line(text: str, *, class_id: int, where: str) -> ClassSpec:
    match = _LINE.fullmatch(text)
    if match is None or not match["name"].isprintable():
        raise ValueError(f"{where}: {text!r} is no class; write `1 scratch` or `1 scratch defect #ff0000`")
    if int(match["id"]) != class_id:
        raise ValueError(
            f"{where}: id {match['id']}, expected {class_id}; ids count up from 0, one class a line"
        )
    color = tuple(bytes.fromhex(match["color"])) if match["color"] else _default_color(class_id)
    role = match["role"] or _default_role(match["name"], class_id)
    return ClassSpec.model_validate({"name": match["name"], "color": color, "role": role})


def _default_role(name: str, class_id: int) -> Role:
    return "background" if class_id == 0 or name.lower() == "background" else "defect"


def _default_color(class_id: int) -> Color:
    """Black for class 0, then the palette, then hues a golden section apart, which never come close early."""
    if class_id == 0:
        return (0, 0, 0)
    if class_id <= len(_PALETTE):
        return _PALETTE[class_id - 1]
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
