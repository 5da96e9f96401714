"""What the gate asks of a candidate, as numbers that a plant can change."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class GateSettings(BaseModel):
    """Margins, guards and sizes of the gate; rates are shares, 0.01 being one point.

    A change within its margin is no change. Beyond it, but not beyond doubt, a loss or a gain goes to a person.

    escape_margin: an escape reaches a customer, so one in a hundred is seen; overkill_margin: a good part that is
    looked at again costs less; recall_margin: a class has few defects in a golden set, and which class a borderline
    defect gets matters less than that it is found.
    margin_parts: no margin is less than so many parts of those the rate was measured on: with one more or one fewer
    in the golden set, it would have come out so.

    Guards are for what verdicts do not show, and refuse at once:
    max_mean_iou_loss, max_boundary_f_loss: sizes and positions are read off the masks; two trainings that differ in
    their seed alone differ by about half of this; max_ece_rise: thresholds of recipes rest on confidence;
    max_latency_ratio: candidate to champion, since a line has a cycle time (timing itself repeats within a tenth);
    min_label_agreement: of the file with the network that was trained: what exporting asks for, here of a file that
    came from elsewhere, too.

    min_ng_parts, min_ok_parts: with fewer parts in the golden set only a person decides. A rate of 0 on 30 parts
    still allows for one in ten (rule of three).
    resamples, seed: of the bootstrap; 10 000 draws place the ends of an interval to about a twentieth of its width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    escape_margin: Share = 0.01
    overkill_margin: Share = 0.02
    recall_margin: Share = 0.05
    margin_parts: Annotated[float, Field(ge=0.0)] = 1.0
    max_mean_iou_loss: Share = 0.03
    max_boundary_f_loss: Share = 0.05
    max_ece_rise: Share = 0.02
    max_latency_ratio: Annotated[float, Field(ge=1.0)] = 1.25
    min_label_agreement: Share = 0.9999
    min_ng_parts: Annotated[int, Field(ge=0)] = 30
    min_ok_parts: Annotated[int, Field(ge=0)] = 30
    resamples: Annotated[int, Field(ge=1000)] = 10_000
    seed: int = 0
