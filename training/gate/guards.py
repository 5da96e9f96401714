"""What refuses a candidate whatever its rates: worse masks, worse confidence, a slow file; and what nobody can see."""

from collections.abc import Iterator, Mapping
from typing import Any

from model.contract import Contract
from training.evaluation import Evaluation
from training.gate.finding import Finding, Unit, from_to, in_words
from training.gate.settings import GateSettings
from training.metrics import mean_of_known


def check_guards(
    champion: Evaluation,
    candidate: Evaluation,
    *,
    agreements: tuple[float, float],
    latency_ms: tuple[float, float] | None,
    settings: GateSettings,
) -> Iterator[Finding]:
    """A finding on each guard that can be checked.

    Args:
        agreements: of each model file with the network that was trained, as shares of pixels.
        latency_ms: median time per image of each; None: not measured.
    """
    before, after = champion.scores, candidate.scores
    masks = (
        ("mean IoU", before.get("mean_iou"), after.get("mean_iou"), settings.max_mean_iou_loss),
        ("boundary F", _boundary_f(before), _boundary_f(after), settings.max_boundary_f_loss),
    )
    for what, old, new, most in masks:
        if old is not None and new is not None:
            said = f"a change of {new - old:+.4f}, a loss of up to {most:.4f} is allowed"
            yield _guard(what, old, new, holds=old - new <= most, said=said)
    old, new = before.get("ece"), after.get("ece")
    if old is not None and new is not None:
        said = f"a change of {new - old:+.4f}, a rise of up to {settings.max_ece_rise:.4f} is allowed"
        holds = new - old <= settings.max_ece_rise
        yield _guard("calibration error", old, new, holds=holds, said=said, lower_is_better=True)
    least = settings.min_label_agreement
    said = f"at least {in_words(least, unit='score')} is expected"
    yield _guard("agreement with the trained network", *agreements, holds=agreements[1] >= least, said=said)
    if latency_ms is not None:
        times, most = latency_ms[1] / latency_ms[0], settings.max_latency_ratio
        said = f"{times:.2f} times as long, up to {most:.2f} times are allowed"
        yield _guard(
            "time per image", *latency_ms, holds=times <= most, said=said, unit="ms", lower_is_better=True
        )


def find_blind_spots(
    golden: Evaluation, *, contracts: tuple[Contract, Contract], settings: GateSettings
) -> Iterator[Finding]:
    """What the golden images are too few to show, and the defect classes of either model that they do not hold."""
    for kind, is_ng, least in (("NG", True, settings.min_ng_parts), ("OK", False, settings.min_ok_parts)):
        parts = len({row.part for row in golden.rows if row.is_ng == is_ng})
        if parts < least:
            text = f"the golden set holds {parts} {kind} parts; a verdict without a person needs {least}"
            yield Finding(what=f"number of {kind} parts", verdict="unclear", text=text)
    shown = {name for row in golden.rows for name in row.found_by_class}
    known = {spec.name for one in contracts for spec in one.classes.classes if spec.role == "defect"}
    for name in sorted(known - shown):
        text = f"the golden set shows no {name}: nobody can say how well it is found"
        yield Finding(what=f"recall of {name}", verdict="unclear", text=text)


def _guard(
    what: str,
    champion: float,
    candidate: float,
    *,
    holds: bool,
    said: str,
    unit: Unit = "score",
    lower_is_better: bool = False,
) -> Finding:
    return Finding(
        what=what,
        verdict="same" if holds else "guard",
        text=f"{what} {from_to(champion, candidate, unit=unit)}: {said}",
        unit=unit,
        champion=champion,
        candidate=candidate,
        lower_is_better=lower_is_better,
    )


def _boundary_f(scores: Mapping[str, Any]) -> float | None:
    """Mean boundary F over the classes that the images show."""
    return mean_of_known(one.get("boundary_f") for one in scores.get("classes", {}).values())
