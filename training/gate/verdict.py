"""Whether a candidate takes the champion's place, from both models' results on the same golden images.

In this order:

1. refuse: a rate is worse beyond doubt, or a guard is broken.
2. needs a person: the golden set is too small, or shows nothing of a class that one of the models knows.
3. refuse: nothing is better, not even by chance.
4. needs a person: what is better may be chance, or something else may be worse.
5. promote: a rate is better beyond doubt, and none is worse by more than its margin.

`training.gate.rates` says what "beyond doubt" is, `training.gate.settings` what the margins are and why.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from model.contract import Contract
from training.evaluation import Evaluation
from training.gate.finding import Finding
from training.gate.guards import check_guards, find_blind_spots
from training.gate.rates import compare_rates
from training.gate.settings import GateSettings

GateVerdict = Literal["promote", "refuse", "needs a person"]


class GateError(ValueError):
    """Two results that cannot be compared, or a result of the gate that cannot be read."""


class GateResult(BaseModel):
    """What the gate says, and all that it rests on.

    Attributes:
        verdict, summary: what to do; and why, in one sentence.
        reasons: what decided it, each in words with its numbers.
        findings: everything that was looked at: rates, guards, blind spots.
        champion, candidate: the two evaluations' scores.
        split, images, parts: what both were judged on.
        settings: what was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: GateVerdict
    summary: str
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    champion: dict[str, Any]
    candidate: dict[str, Any]
    split: str
    images: int
    parts: int
    settings: GateSettings

    @property
    def numbers(self) -> dict[str, JsonValue]:
        """Every finding that has values, for a line of history."""
        told = {"verdict", "champion", "candidate", "low", "high"}
        return {
            one.what: one.model_dump(include=told, exclude_none=True)
            for one in self.findings
            if one.champion is not None
        }


def judge(
    champion: Evaluation,
    candidate: Evaluation,
    *,
    champion_contract: Contract,
    candidate_contract: Contract,
    latency_ms: tuple[float, float] | None = None,
    settings: GateSettings | None = None,
) -> GateResult:
    """The verdict on a candidate; nothing but its arguments decides.

    Args:
        champion, candidate: of the same images in the same classes (`training.gate.relabel`), through the model files.
        champion_contract, candidate_contract: of these files.
        latency_ms: median time per image of champion and candidate, taken in turns (`training.gate.latency`); None: not
            measured, and no guard.

    Raises:
        GateError: the two were judged on different images, or no image.
    """
    settings = settings or GateSettings()
    _check_alike(champion, candidate)
    contracts = champion_contract, candidate_contract
    findings = (
        *compare_rates(champion, candidate, settings=settings),
        *check_guards(
            champion,
            candidate,
            agreements=(champion_contract.parity.label_agreement, candidate_contract.parity.label_agreement),
            latency_ms=latency_ms,
            settings=settings,
        ),
        *find_blind_spots(champion, contracts=contracts, settings=settings),
    )
    verdict, grounds = _decide(findings)
    return GateResult(
        verdict=verdict,
        summary=_summary(verdict, grounds),
        reasons=tuple(
            said for why, found in grounds.items() for said in [one.text for one in found] or [why]
        ),
        findings=findings,
        champion=champion.scores,
        candidate=candidate.scores,
        split=champion.split,
        images=len(champion.rows),
        parts=len({row.part for row in champion.rows}),
        settings=settings,
    )


def _decide(findings: tuple[Finding, ...]) -> tuple[GateVerdict, dict[str, list[Finding]]]:
    """The verdict, and its grounds: findings by what they are. The order of the rules is that of the module."""

    def those(verdict: str) -> list[Finding]:
        return [one for one in findings if one.verdict == verdict]

    better, unclear = those("better"), those("unclear")
    blind = [one for one in unclear if one.gain is None]
    hopes = [one for one in unclear if one.gain is not None and one.gain > 0]
    doubts = [one for one in unclear if one.gain is not None and one.gain < 0]
    losses = _present({"worse beyond doubt": those("worse"), "out of bounds": those("guard")})
    weighed = _present(
        {
            "better beyond doubt": better,
            "better, but perhaps by chance": hopes,
            "worse, but perhaps by chance": doubts,
            "not to be seen": blind,
        }
    )
    if losses:
        return "refuse", losses
    if blind:
        return "needs a person", weighed
    if not better and not hopes:
        return "refuse", {"no proof that it is better": []} | weighed
    if not better or doubts:
        return "needs a person", weighed
    return "promote", weighed


def _present(grounds: dict[str, list[Finding]]) -> dict[str, list[Finding]]:
    return {why: found for why, found in grounds.items() if found}


def _summary(verdict: GateVerdict, grounds: dict[str, list[Finding]]) -> str:
    """One sentence: the verdict, and its grounds with their values."""
    said = (
        f"{why}: {', '.join(one.brief for one in found)}" if found else why for why, found in grounds.items()
    )
    return f"{verdict.capitalize()}: {'; '.join(said)}."


def _check_alike(champion: Evaluation, candidate: Evaluation) -> None:
    """GateError unless both are of the same images, with the same truth, and of at least one."""
    if not champion.rows:
        raise GateError(f"no image of the split {champion.split} was judged; the gate needs a golden set")
    before, after = (
        [
            (row.name, row.part, {name: true for name, (_, true) in row.found_by_class.items()})
            for row in one.rows
        ]
        for one in (champion, candidate)
    )
    if before != after:
        other = next(
            (old[0] for old, new in zip(before, after, strict=False) if old != new), "the number of images"
        )
        raise GateError(
            f"champion and candidate were not judged on the same images ({len(before)} and {len(after)}; the first to "
            f"differ: {other}); judge both on one golden set in one class map"
        )
