"""Go on from the champion: its weights, with classes matched by name, and what holds the candidate near it.

The champion may know fewer classes than the data set, more, or the same in another order. A class that it does not
know begins as a copy of the background in each head, after arXiv 2002.00718: a random row, which nothing holds, grows
to all that is no background, and where no old image objects it takes the old defects with it: 91 % of the scratches'
pixels were called stain after 90 steps, and 10 % this way (docs/experiments.md, 2026-11-27).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data.dataset import Batch
from model.segmenter import Segmenter, build
from training.config import AdaptSettings, ConfigError, RunConfig
from training.distill import Distillation
from training.ewc import ElasticPenalty, load_fisher
from training.network_file import TrainedNetwork, read_network

Regularizer = Callable[[Segmenter, Batch, Tensor], Tensor]
"""(network, batch, its logits) → what is added to the loss, float32 []."""


class AdaptError(ValueError):
    """A champion that this run cannot go on from; says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a candidate goes on from.

    Attributes:
        champion: its averaged network, which is what was validated and exported.
        fisher: of the champion, by parameter name, see `training.ewc`; None where it was not computed.
        new_samples: names of the samples that the champion has not seen as they are now.
    """

    champion: TrainedNetwork
    fisher: Mapping[str, Tensor] | None = None
    new_samples: frozenset[str] = frozenset()

    def shared_ids(self, class_names: Sequence[str]) -> tuple[list[int], list[int]]:
        """The classes that both know, by their ids here and in `class_names`.

        Raises:
            AdaptError: there are fewer than two.
        """
        theirs, own = self.champion.class_names, tuple(class_names)
        shared = [name for name in own if name in theirs]
        if len(shared) < 2:
            raise AdaptError(
                f"the champion knows {', '.join(theirs)}, the data set {', '.join(own)}: fewer than two of one name; "
                "name the classes alike in classes.txt, or train with adapt.strategy = scratch"
            )
        return [theirs.index(name) for name in shared], [own.index(name) for name in shared]


def load_start(
    network: Path, *, fisher: Path | None = None, new_samples: frozenset[str] = frozenset()
) -> Start:
    """A start from the files that a champion left: network.pt and fisher.pt. Raises TensorFileError."""
    return Start(
        champion=read_network(network),
        fisher=None if fisher is None else load_fisher(fisher),
        new_samples=new_samples,
    )


def build_segmenter(config: RunConfig, *, class_names: Sequence[str], start: Start | None) -> Segmenter:
    """The network to be trained: fresh, or the champion's, as `adapt.strategy` says.

    Raises:
        ConfigError: the settings ask for what `start` does not give. AdaptError: the champion does not fit.
        ValueError: no such network or option.
    """
    _check(config.adapt, start=start)
    network = config.network
    if start is None or config.adapt.strategy == "scratch":
        return build(network.name, class_count=len(class_names), options=network.options)
    segmenter = build(network.name, class_count=len(class_names), options=network.structural_options)
    matched = match_classes(start.champion.weights, start=start, segmenter=segmenter, class_names=class_names)
    try:
        segmenter.load_state_dict(matched)
    except RuntimeError as error:
        # torch lists every weight, a line each: the first one tells enough.
        told = [line.strip() for line in str(error).splitlines()][:2][-1]
        raise AdaptError(
            f"the champion is no {network.name} with these options ({told}); keep the champion's [network], or train "
            "with adapt.strategy = scratch"
        ) from error
    if config.adapt.strategy == "frozen_encoder":
        segmenter.freeze_encoder()
    return segmenter


def build_regularizer(
    segmenter: Segmenter, *, config: RunConfig, class_names: Sequence[str], start: Start | None
) -> Regularizer | None:
    """What holds the candidate near the champion, from `segmenter` as `build_segmenter` made it; None: nothing."""
    settings, device = config.adapt, segmenter.mean.device
    if start is None or (settings.strategy != "ewc" and not settings.distillation):
        return None
    elastic, distillation = None, None
    if settings.strategy == "ewc":
        fisher = matched_fisher(start, segmenter=segmenter, class_names=class_names)
        elastic = ElasticPenalty(segmenter, fisher=fisher, strength=settings.ewc_lambda)
    if settings.distillation:
        champion_ids, own_ids = start.shared_ids(class_names)
        distillation = Distillation(
            start.champion.build().to(device).to(memory_format=torch.channels_last),
            champion_ids=champion_ids,
            own_ids=own_ids,
            weight=settings.distillation,
            temperature=settings.distill_temperature,
        )

    def penalty(segmenter: Segmenter, batch: Batch, logits: Tensor) -> Tensor:
        total = logits.new_zeros(())
        if elastic is not None:
            total = total + elastic(segmenter)
        if distillation is not None:
            total = total + distillation(batch.images, labels=batch.labels, logits=logits)
        return total

    return penalty


def matched_fisher(start: Start, *, segmenter: Segmenter, class_names: Sequence[str]) -> dict[str, Tensor]:
    """The champion's Fisher information in the shapes of `segmenter`; 0 for classes that it does not know."""
    assert start.fisher is not None, "checked before"
    matched = match_classes(start.fisher, start=start, segmenter=segmenter, class_names=class_names)
    new_ids = [at for at, name in enumerate(class_names) if name not in start.champion.class_names]
    for name in _class_tensors(segmenter) & matched.keys():
        matched[name][new_ids] = 0.0
    return matched


def match_classes(
    tensors: Mapping[str, Tensor], *, start: Start, segmenter: Segmenter, class_names: Sequence[str]
) -> dict[str, Tensor]:
    """The champion's tensors with class rows in the order of `class_names`; those of new classes are its first one's,
    the background's."""
    start.shared_ids(class_names)
    theirs = start.champion.class_names
    rows = [theirs.index(name) if name in theirs else 0 for name in class_names]
    by_class = _class_tensors(segmenter)
    return {name: tensor[rows] if name in by_class else tensor for name, tensor in tensors.items()}


def _class_tensors(segmenter: Segmenter) -> set[str]:
    """Names of the parameters whose axis 0 is the class."""
    of_classifier = {id(weight) for weight in segmenter.classifier.parameters()}
    return {name for name, weight in segmenter.named_parameters() if id(weight) in of_classifier}


def _check(settings: AdaptSettings, *, start: Start | None) -> None:
    """What is asked of the champion, and is not there."""
    if start is None and (settings.strategy != "scratch" or settings.distill_weight):
        asked = "distill_weight" if settings.strategy == "scratch" else f"strategy = {settings.strategy}"
        raise ConfigError(
            f"adapt.{asked} needs a champion to go on from: use `segnet retrain`, or leave it out"
        )
    if start is not None and settings.strategy == "ewc" and start.fisher is None:
        raise ConfigError(
            "adapt.strategy = ewc needs the champion's fisher.pt, which it lacks; use fine_tune with distill_weight, "
            "or promote a champion that has one"
        )
