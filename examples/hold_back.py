"""Part a data set into what a first model learns from and what inspectors bring later: to rehearse retraining.

    python examples/hold_back.py DATA stain 0.4 OUT

OUT/first gets 40 % of the training images and all validation images that show no `stain`, and knows nothing of that
class; OUT/inbox gets all the others with all their labels. DATA's test images stay, as the golden set:

    segnet train configs/fast.toml --data OUT/first --out runs/first
    segnet init line1 --data OUT/first --golden DATA --model runs/first
    cp -r OUT/inbox/. line1/inbox/ && segnet retrain --workspace line1
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from data.classes import IGNORE_LABEL, ClassMap
from data.manifest import Manifest, Sample
from data.masks import encode_labels, read_labels
from data.sources import CLASSES_FILE, open_dataset


def main(data: str, held_back: str, share: str, out: str) -> None:
    manifest = open_dataset(Path(data))
    known = ClassMap(classes=tuple(one for one in manifest.class_map.classes if one.name != held_back))
    first, later = Path(out) / "first", Path(out) / "inbox"
    for sample in known_samples(manifest, held_back=held_back, share=float(share)):
        copy(sample, first, class_map=manifest.class_map, onto=known)
    for sample in manifest.samples:
        if sample.split != "test" and not (first / "images" / sample.split / sample.image.name).exists():
            copy(sample, later, class_map=manifest.class_map, onto=manifest.class_map)
    (first / CLASSES_FILE).write_text(known.to_text(), encoding="utf-8")
    (later / CLASSES_FILE).write_text(manifest.class_map.to_text(), encoding="utf-8")


def known_samples(manifest: Manifest, *, held_back: str, share: float) -> list[Sample]:
    """The samples that the first model may see."""
    held_id = manifest.class_map.index_of(held_back)
    train, val = (
        [one for one in manifest.split(split) if held_id not in np.unique(read_labels(one.mask))]
        for split in ("train", "val")
    )
    return train[: round(share * len(manifest.split("train")))] + val


def copy(sample: Sample, folder: Path, *, class_map: ClassMap, onto: ClassMap) -> None:
    """An image and its mask, whose ids become those of `onto`."""
    images, masks = folder / "images" / sample.split, folder / "masks" / sample.split
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    ids = np.full(256, IGNORE_LABEL, np.uint8)
    for old, name in enumerate(class_map.names):
        ids[old] = onto.index_of(name) if name in onto.names else 0
    shutil.copy(sample.image, images / sample.image.name)
    (masks / f"{sample.name}.png").write_bytes(encode_labels(ids[read_labels(sample.mask)], onto))


if __name__ == "__main__":
    main(*sys.argv[1:])
