"""Champion and candidate on the same golden images, each as it would serve, and what the gate says of it."""

from pathlib import Path
from typing import Final

from data.golden import GOLDEN_SPLIT
from data.images import read_image
from data.manifest import Manifest
from model.predictor import Predictor
from training.evaluate import evaluate
from training.export import restamp
from training.gate.latency import compare_latency
from training.gate.relabel import in_common_classes
from training.gate.report import GATE_FILE, GATE_REPORT_FILE, Judged, read_gate, write_gate_report
from training.gate.settings import GateSettings
from training.gate.verdict import GateResult, judge

#: What a trial leaves in its folder.
GATE_FILES: Final = (GATE_FILE, GATE_REPORT_FILE)
#: The name under which a model file keeps its scores on the golden set.
GOLDEN_SCORES: Final = "golden"
_TIMED_IMAGES: Final = 8


def try_on_golden(
    candidate: Path,
    *,
    champion: Path,
    labels: tuple[str, str],
    golden: Manifest,
    settings: GateSettings,
    folder: Path,
) -> GateResult:
    """Judge both model files on the golden images, write gate.json and gate.html, stamp the candidate's scores.

    A trial whose gate.json is there is not held again, unless the gate asks for something else now.

    Args:
        labels: what people call champion and candidate.

    Raises:
        ArtifactError: no model file. PairError: classes of one name and two roles. DatasetError: a broken image.
    """
    said = read_gate(folder / GATE_FILE)
    if said is not None and said.settings == settings:
        return said
    models = Predictor.open(champion), Predictor.open(candidate)
    manifest, relabelled = in_common_classes(golden, *models)
    judged = [
        Judged(
            label=label,
            model=as_judged,
            digest=model.digest,
            evaluation=evaluate(as_judged, manifest, split=GOLDEN_SPLIT),
        )
        for label, model, as_judged in zip(labels, models, relabelled, strict=True)
    ]
    timed = [read_image(sample.image) for sample in golden.split(GOLDEN_SPLIT)[:_TIMED_IMAGES]]
    before, after = judged
    result = judge(
        before.evaluation,
        after.evaluation,
        champion_contract=models[0].contract,
        candidate_contract=models[1].contract,
        latency_ms=compare_latency(*models, images=timed),
        settings=settings,
    )
    scores = {**models[1].contract.scores, GOLDEN_SCORES: after.evaluation.scores}
    restamp(candidate, contract=models[1].contract.model_copy(update={"scores": scores}))
    # Last, as gate.json says that all of it is done.
    write_gate_report(folder, result, champion=before, candidate=after, manifest=manifest)
    return result
