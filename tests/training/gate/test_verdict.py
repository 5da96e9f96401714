"""The gate's verdicts on golden sets small enough to count: each rule and each reason, with a case of its own."""

from datetime import UTC, datetime
from typing import Any

import pytest

from data.classes import ClassMap
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from training.evaluation import Evaluation, ImageRow
from training.gate.finding import Finding
from training.gate.settings import GateSettings
from training.gate.verdict import GateError, GateResult, judge

#: What a model says of an image: found (1), missed and called OK (0), called NG for another class (x);
#: of an OK image: false alarm (1), passed (0).
SCRATCHES, PITS, GOOD = "1" * 36 + "0" * 4, "1" * 18 + "00", "1" * 3 + "0" * 57


def judged(
    *, part_size: int = 1, iou: float = 0.7, boundary_f: float = 0.8, ece: float = 0.01, **said: str
) -> Evaluation:
    """An evaluation by hand: for each class, and for `ok`, a letter an image; parts are runs of so many images."""
    rows = []
    for kind, letters in said.items():
        for number, letter in enumerate(letters):
            is_ng = kind != "ok"
            rows.append(
                ImageRow(
                    name=f"{kind}{number}",
                    group=None if part_size == 1 else f"{kind}-part{number // part_size}",
                    is_ng=is_ng,
                    called_ng=letter != "0",
                    margin=None,
                    regions=int(letter != "0"),
                    true_regions=int(is_ng),
                    missed_regions=int(is_ng and letter == "0"),
                    false_regions=int(not is_ng and letter == "1"),
                    found_by_class={kind: (int(letter == "1"), 1)} if is_ng else {},
                    mean_defect_iou=0.5 if is_ng else None,
                    pixels_by_class={},
                )
            )
    classes = {kind: {"boundary_f": boundary_f} for kind in said if kind != "ok"}
    scores = {
        "images": len(rows),
        "mean_iou": iou,
        "ece": ece,
        "classes": {"background": {"boundary_f": None}, **classes},
    }
    return Evaluation(split="test", scores=scores, rows=tuple(rows), confusion=(), reliability=())


def contract(*classes: str, agreement: float = 1.0) -> Contract:
    class_map = ClassMap.from_names(["background", *classes])
    return Contract(
        name="tiles",
        created_at=datetime(2026, 2, 3, tzinfo=UTC),
        classes=class_map,
        stride=8,
        tile_px=64,
        halo_px=8,
        decision=Decision.neutral(len(class_map)),
        provenance=Provenance(
            run="r", git="g", config_sha256="c", data_sha256="d", seed=0, versions={}, machine="m"
        ),
        parity=Parity(images=1, pixels=1, label_agreement=agreement, max_probability_error=0.0),
        golden=GoldenSample(image_png=b"", labels_png=b""),
    )


def verdict_on(champion: Evaluation, candidate: Evaluation, **more: Any) -> GateResult:
    """The gate's word, on models that know what the golden set shows unless said otherwise."""
    shown = sorted({name for row in champion.rows for name in row.found_by_class})
    known = {"champion_contract": contract(*shown), "candidate_contract": contract(*shown)}
    return judge(champion, candidate, **{**known, **more})


def on(result: GateResult, what: str) -> Finding:
    (found,) = (one for one in result.findings if one.what == what)
    return found


def verdicts(result: GateResult) -> dict[str, str]:
    return {one.what: one.verdict for one in result.findings}


CHAMPION = judged(scratch=SCRATCHES, pit=PITS, ok=GOOD)
#: Catches all four scratches and one pit that the champion misses, and none less: five to none.
BETTER = judged(scratch="1" * 40, pit="1" * 19 + "0", ok=GOOD)


def test_a_candidate_that_finds_a_new_class_is_promoted() -> None:
    champion = judged(scratch=SCRATCHES, pit=PITS, fray="x" * 12, ok=GOOD)
    candidate = judged(scratch=SCRATCHES, pit=PITS, fray="1" * 10 + "xx", ok=GOOD)
    result = verdict_on(champion, candidate, champion_contract=contract("scratch", "pit"))
    assert result.verdict == "promote"
    assert result.summary == "Promote: better beyond doubt: recall of fray 0.0 % → 83.3 %."
    (reason,) = result.reasons
    assert reason.startswith(
        "recall of fray is better beyond doubt: 0.0 % → 83.3 %, a change of +83.3 points"
    )
    assert "(95 % interval +58.3 to +100.0; of 12 parts 10 better, 0 worse)" in reason


def test_masks_that_were_shuffled_cost_recall_and_are_refused() -> None:
    candidate = judged(scratch="1" * 5 + "0" * 35, pit="1" + "0" * 19, ok="1" * 20 + "0" * 40)
    result = verdict_on(CHAMPION, candidate)
    assert result.verdict == "refuse"
    told = verdicts(result)
    for what in ("escape rate", "overkill rate", "recall of scratch", "recall of pit"):
        assert told[what] == "worse", what
        assert any(reason.startswith(f"{what} is worse beyond doubt") for reason in result.reasons)


def test_masks_that_were_empty_let_defects_escape_and_are_refused() -> None:
    result = verdict_on(CHAMPION, judged(scratch="0" * 40, pit="0" * 20, ok="0" * 60))
    assert result.verdict == "refuse"
    assert "escape rate 10.0 % → 100.0 %" in result.summary
    assert on(result, "overkill rate").verdict == "unclear"


def test_classes_that_were_swapped_are_refused_by_name_though_every_verdict_stays() -> None:
    champion = judged(scratch=SCRATCHES, pit=PITS, fray="1" * 10 + "00", ok=GOOD)
    candidate = judged(
        scratch=SCRATCHES.replace("1", "x"), pit=PITS.replace("1", "x"), fray="1" * 10 + "00", ok=GOOD
    )
    result = verdict_on(champion, candidate)
    assert result.verdict == "refuse"
    assert [reason.partition(" is ")[0] for reason in result.reasons] == [
        "recall of pit",
        "recall of scratch",
    ]
    assert on(result, "escape rate").gain == 0.0


def test_a_model_just_like_the_champion_is_refused_for_want_of_proof() -> None:
    result = verdict_on(CHAMPION, CHAMPION)
    assert (result.verdict, result.reasons) == ("refuse", ("no proof that it is better",))
    assert result.summary == "Refuse: no proof that it is better."
    assert set(verdicts(result).values()) == {"same"}


def test_one_more_part_that_is_caught_is_no_proof_and_no_hope() -> None:
    # 1 of 60 NG parts is 1.7 points, above the margin of 1, but a golden set of one part more might show that, too.
    result = verdict_on(CHAMPION, judged(scratch="1" * 37 + "000", pit=PITS, ok=GOOD))
    assert (result.verdict, on(result, "escape rate").verdict) == ("refuse", "same")


def test_a_gain_that_may_be_luck_needs_a_person() -> None:
    result = verdict_on(CHAMPION, judged(scratch="1" * 39 + "0", pit=PITS, ok=GOOD))
    assert result.verdict == "needs a person"
    assert "better, but perhaps by chance: escape rate 10.0 % → 5.0 %" in result.summary
    escape = on(result, "escape rate")
    assert escape.low is not None
    assert escape.high is not None
    assert escape.low < escape.high == 0.0
    assert (escape.better_parts, escape.worse_parts, escape.parts) == (3, 0, 60)


@pytest.mark.parametrize(
    "candidate",
    [
        pytest.param(judged(scratch="111", ok="00"), id="better"),
        pytest.param(judged(scratch="100", ok="10"), id="alike"),
        pytest.param(judged(scratch="000", ok="00"), id="worse"),
    ],
)
def test_a_golden_set_of_five_images_decides_nothing(candidate: Evaluation) -> None:
    result = verdict_on(judged(scratch="100", ok="10"), candidate)
    assert result.verdict == "needs a person"
    assert "the golden set holds 3 NG parts; a verdict without a person needs 30" in result.reasons
    assert "the golden set holds 2 OK parts; a verdict without a person needs 30" in result.reasons


@pytest.mark.parametrize("lacking", [{"ng": "30", "ok": "61"}, {"ng": "61", "ok": "30"}], ids=["OK", "NG"])
def test_either_kind_of_part_may_be_too_few(lacking: dict[str, str]) -> None:
    settings = GateSettings(min_ng_parts=int(lacking["ng"]), min_ok_parts=int(lacking["ok"]))
    assert verdict_on(CHAMPION, BETTER).verdict == "promote"
    assert verdict_on(CHAMPION, BETTER, settings=settings).verdict == "needs a person"


def test_parts_are_counted_and_not_their_images() -> None:
    champion, candidate = (judged(part_size=4, scratch=letters * 60, ok="0" * 240) for letters in ("0", "1"))
    result = verdict_on(champion, candidate)
    assert (result.images, result.parts) == (300, 75)
    assert result.reasons[-1] == "the golden set holds 15 NG parts; a verdict without a person needs 30"


def test_a_class_that_the_golden_set_does_not_show_needs_a_person() -> None:
    result = verdict_on(CHAMPION, BETTER, candidate_contract=contract("scratch", "pit", "fray"))
    assert result.verdict == "needs a person"
    assert "the golden set shows no fray: nobody can say how well it is found" in result.reasons
    lost = verdict_on(CHAMPION, BETTER, champion_contract=contract("scratch", "pit", "fray"))
    assert lost.verdict == "needs a person"


def test_what_is_better_beyond_doubt_is_promoted_only_while_nothing_else_looks_worse() -> None:
    assert verdict_on(CHAMPION, BETTER).verdict == "promote"
    doubtful = judged(scratch="1" * 40, pit="1" * 19 + "0", ok="1" * 6 + "0" * 54)
    result = verdict_on(CHAMPION, doubtful)
    assert result.verdict == "needs a person"
    assert "worse, but perhaps by chance: overkill rate 5.0 % → 10.0 %" in result.summary
    assert any(reason.startswith("escape rate is better beyond doubt") for reason in result.reasons)


def test_a_loss_that_may_be_chance_with_no_gain_at_all_is_refused_and_told() -> None:
    result = verdict_on(CHAMPION, judged(scratch=SCRATCHES, pit=PITS, ok="1" * 6 + "0" * 54))
    assert result.verdict == "refuse"
    assert result.summary == (
        "Refuse: no proof that it is better; worse, but perhaps by chance: overkill rate 5.0 % → 10.0 %."
    )


def test_a_loss_beyond_doubt_outweighs_any_gain() -> None:
    champion = judged(scratch=SCRATCHES, pit=PITS, fray="0" * 12, ok=GOOD)
    candidate = judged(scratch=SCRATCHES, pit="1" * 9 + "0" * 11, fray="1" * 12, ok=GOOD)
    result = verdict_on(champion, candidate)
    assert (on(result, "recall of fray").verdict, on(result, "recall of pit").verdict) == ("better", "worse")
    assert (result.verdict, len(result.reasons)) == ("refuse", 1)


def guarded(**candidate: Any) -> GateResult:
    """The better candidate, with these scores; the champion's are 0.7, 0.8 and 0.01."""
    return verdict_on(CHAMPION, judged(scratch="1" * 40, pit="1" * 19 + "0", ok=GOOD, **candidate))


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        pytest.param(
            {"iou": 0.66},
            "mean IoU 0.7000 → 0.6600: a change of -0.0400, a loss of up to 0.0300",
            id="mean IoU",
        ),
        pytest.param(
            {"boundary_f": 0.74},
            "boundary F 0.8000 → 0.7400: a change of -0.0600, a loss of up to 0.0500",
            id="boundary F",
        ),
        pytest.param(
            {"ece": 0.04},
            "calibration error 0.0100 → 0.0400: a change of +0.0300, a rise of up to 0.0200",
            id="calibration",
        ),
    ],
)
def test_scores_that_verdicts_do_not_show_are_guarded(scores: dict[str, float], said: str) -> None:
    result = guarded(**scores)
    assert (result.verdict, result.reasons) == ("refuse", (f"{said} is allowed",))
    assert [one.verdict for one in result.findings].count("guard") == 1


def test_guards_hold_within_their_margins_and_where_a_score_rises() -> None:
    assert guarded(iou=0.68, boundary_f=0.76, ece=0.025).verdict == "promote"
    assert guarded(iou=0.9, boundary_f=0.95, ece=0.0).verdict == "promote"


@pytest.mark.parametrize(("candidate_ms", "verdict"), [(12.0, "promote"), (13.0, "refuse")])
def test_a_slow_candidate_is_refused(candidate_ms: float, verdict: str) -> None:
    result = verdict_on(CHAMPION, BETTER, latency_ms=(10.0, candidate_ms))
    assert result.verdict == verdict
    if verdict == "refuse":
        assert result.reasons == (
            "time per image 10.0 ms → 13.0 ms: 1.30 times as long, up to 1.25 times are allowed",
        )


def test_time_that_was_not_measured_is_no_finding() -> None:
    assert "time per image" not in verdicts(verdict_on(CHAMPION, BETTER))


def test_a_file_that_is_not_its_network_is_refused() -> None:
    result = verdict_on(CHAMPION, BETTER, candidate_contract=contract("scratch", "pit", agreement=0.99))
    assert result.verdict == "refuse"
    assert result.reasons == (
        "agreement with the trained network 1.0000 → 0.9900: at least 0.9999 is expected",
    )
    assert (
        verdict_on(CHAMPION, BETTER, champion_contract=contract("scratch", "pit", agreement=0.9)).verdict
        == "promote"
    )


def test_a_broken_guard_refuses_even_where_the_golden_set_is_too_small() -> None:
    small, slow = judged(scratch="100", ok="10"), (10.0, 20.0)
    assert verdict_on(small, small, latency_ms=slow).verdict == "refuse"


def with_parts(better: int, worse: int, *, of: int = 100) -> tuple[Evaluation, Evaluation]:
    """Champion and candidate on so many scratches each on its own part, some of which changed."""
    rest = of - better - worse
    before, after = "0" * better + "1" * worse + "1" * rest, "1" * better + "0" * worse + "1" * rest
    return judged(scratch=before, ok="0" * 40), judged(scratch=after, ok="0" * 40)


@pytest.mark.parametrize(
    ("better", "worse", "said"),
    [
        pytest.param(0, 3, "unclear", id="three lost: one draw in twenty holds none of them"),
        pytest.param(0, 4, "worse", id="four lost: the interval alone"),
        pytest.param(4, 0, "unclear", id="four won: the interval, but not the parts"),
        pytest.param(5, 0, "better", id="five won: both"),
        pytest.param(0, 5, "worse", id="five lost: both"),
        pytest.param(1, 1, "same", id="one each way"),
        pytest.param(7, 5, "unclear", id="about as many lost as won"),
    ],
)
def test_one_witness_makes_it_worse_and_only_both_make_it_better(better: int, worse: int, said: str) -> None:
    assert on(verdict_on(*with_parts(better, worse)), "escape rate").verdict == said


def test_an_interval_that_is_clear_is_a_hope_even_within_the_margin() -> None:
    # Four of 500 are 0.8 points, the margin is 1.
    assert on(verdict_on(*with_parts(4, 0, of=500)), "escape rate").verdict == "unclear"


def in_lots(letters: str, *, lots: int, lot_size: int) -> Evaluation:
    """Scratches, the first ones in lots that are one part each."""
    evaluation = judged(scratch=letters, ok="0" * 40)
    rows = tuple(
        row.model_copy(update={"group": f"lot{at // lot_size}"}) if at < lots * lot_size else row
        for at, row in enumerate(evaluation.rows)
    )
    return evaluation.model_copy(update={"rows": rows})


def test_many_parts_that_lose_are_worse_though_few_that_win_much_leave_the_sign_of_the_sum_open() -> None:
    # Two lots win four scratches each, 12 parts lose one: 12 to 2 is no coin, the sum of -4 might be.
    before = in_lots("0" * 8 + "1" * 92, lots=2, lot_size=4)
    after = in_lots("1" * 8 + "0" * 12 + "1" * 80, lots=2, lot_size=4)
    found = on(verdict_on(before, after), "recall of scratch")
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert (found.better_parts, found.worse_parts, found.verdict) == (2, 12, "worse")
    assert on(verdict_on(after, before), "recall of scratch").verdict == "same"


def test_parts_that_win_are_no_witness_of_a_sum_that_lost() -> None:
    # Two lots lose eight scratches each, 12 parts win one: more parts are better, fewer scratches are found.
    before = in_lots("1" * 16 + "0" * 12 + "1" * 72, lots=2, lot_size=8)
    after = in_lots("0" * 16 + "1" * 12 + "1" * 72, lots=2, lot_size=8)
    found = on(verdict_on(before, after), "recall of scratch")
    assert (found.better_parts, found.worse_parts, found.verdict) == (12, 2, "same")


@pytest.mark.parametrize(("parts", "said"), [(4, "unclear"), (5, "worse")])
def test_a_class_of_four_parts_proves_nothing_even_when_all_are_lost(parts: int, said: str) -> None:
    champion = judged(scratch=SCRATCHES, pit="1" * parts, ok=GOOD)
    candidate = judged(scratch=SCRATCHES, pit="x" * parts, ok=GOOD)
    assert on(verdict_on(champion, candidate), "recall of pit").verdict == said


def test_twelve_images_of_one_part_are_one_part_lost() -> None:
    before = judged(part_size=12, scratch="1" * 120, ok="0" * 40)
    after = judged(part_size=12, scratch="0" * 12 + "1" * 108, ok="0" * 40)
    settings = GateSettings(min_ng_parts=5, min_ok_parts=1)
    assert on(verdict_on(before, after, settings=settings), "escape rate").verdict == "same"
    alone = judged(scratch="1" * 120, ok="0" * 40), judged(scratch="0" * 12 + "1" * 108, ok="0" * 40)
    assert on(verdict_on(*alone), "escape rate").verdict == "worse"


@pytest.mark.parametrize(
    ("what", "setting", "champion", "candidate"),
    [
        pytest.param(
            "escape rate", "escape_margin", {"scratch": "1" * 100}, {"scratch": "00" + "1" * 98}, id="escape"
        ),
        pytest.param(
            "overkill rate", "overkill_margin", {"ok": "0" * 100}, {"ok": "111" + "0" * 97}, id="overkill"
        ),
        pytest.param(
            "recall of pit", "recall_margin", {"pit": "1" * 50}, {"pit": "xxx" + "1" * 47}, id="recall"
        ),
    ],
)
def test_each_rate_has_its_margin(
    what: str, setting: str, champion: dict[str, str], candidate: dict[str, str]
) -> None:
    rest = {"scratch": SCRATCHES, "pit": PITS, "ok": GOOD}
    pair = judged(**{**rest, **champion}), judged(**{**rest, **candidate})
    assert on(verdict_on(*pair), what).verdict == "unclear"
    assert on(verdict_on(*pair, settings=GateSettings(**{setting: 0.07})), what).verdict == "same"


def test_the_margin_is_never_less_than_a_part_unless_asked() -> None:
    one_lost = with_parts(0, 1, of=40)
    assert on(verdict_on(*one_lost), "escape rate").verdict == "same"
    assert on(verdict_on(*one_lost), "escape rate").margin == pytest.approx(1 / 40)
    strict = GateSettings(margin_parts=0)
    assert on(verdict_on(*one_lost, settings=strict), "escape rate").verdict == "unclear"


def test_rates_without_a_case_are_left_out() -> None:
    result = verdict_on(judged(ok=GOOD), judged(ok=GOOD))
    assert [one.what for one in result.findings if one.low is not None] == ["overkill rate"]
    json_like = judged(scratch="1").model_copy(update={"scores": {"images": 1, "mean_iou": None}})
    assert not {"mean IoU", "boundary F", "calibration error"} & set(
        verdicts(verdict_on(json_like, json_like))
    )


def test_the_result_keeps_scores_and_settings_and_survives_json() -> None:
    settings = GateSettings(seed=7)
    result = verdict_on(CHAMPION, BETTER, settings=settings, latency_ms=(10.0, 11.0))
    assert (result.champion, result.candidate) == (CHAMPION.scores, BETTER.scores)
    assert (result.split, result.images, result.parts, result.settings) == ("test", 120, 120, settings)
    assert GateResult.model_validate_json(result.model_dump_json()) == result


def test_the_numbers_for_the_history_are_those_of_the_findings() -> None:
    numbers = verdict_on(CHAMPION, BETTER).numbers
    assert numbers["mean IoU"] == {"verdict": "same", "champion": 0.7, "candidate": 0.7}
    escape = numbers["escape rate"]
    assert isinstance(escape, dict)
    assert set(escape) == {"verdict", "champion", "candidate", "low", "high"}
    assert (escape["champion"], escape["candidate"]) == pytest.approx((0.1, 1 / 60))


OTHER_TRUTH = CHAMPION.model_copy(
    update={
        "rows": (CHAMPION.rows[0].model_copy(update={"found_by_class": {"pit": (1, 1)}}), *CHAMPION.rows[1:])
    }
)


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        pytest.param(
            judged(scratch=SCRATCHES, ok=GOOD), r"\(120 and 100; the first to differ: pit0\)", id="fewer"
        ),
        pytest.param(OTHER_TRUTH, r"\(120 and 120; the first to differ: scratch0\)", id="other truth"),
        pytest.param(
            judged(part_size=2, scratch=SCRATCHES, pit=PITS, ok=GOOD),
            "not judged on the same images",
            id="other parts",
        ),
        pytest.param(
            judged(scratch=SCRATCHES, pit=PITS, ok=GOOD + "0"),
            "the first to differ: the number of images",
            id="more",
        ),
    ],
)
def test_results_on_different_images_are_not_compared(candidate: Evaluation, said: str) -> None:
    with pytest.raises(GateError, match=said):
        verdict_on(CHAMPION, candidate)


def test_no_image_is_no_golden_set() -> None:
    with pytest.raises(GateError, match="no image of the split test was judged"):
        verdict_on(judged(), judged())
