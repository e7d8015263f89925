"""The methods: what students learn besides the labels, each a few terms of targets and a loss.

A method is named in the config; names joined by "+" are learned together, e.g. "lskd+lavid".
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from functools import partial

from torch import Tensor

from storage.errors import InputInvalid
from student.classification import calibrated, targets
from student.classification.targets import Transform
from student.classification.terms import AspectTerm, ClassTerm, ConsistencyTerm, Head, Method, NetworkTerm
from student.core import losses


class MethodUnknown(InputInvalid):
    """There is no such method; the message lists the methods."""


# Up to a constant, of the student's distribution against the target's.
_CROSS_ENTROPY = partial(losses.kd_loss, temperature=1.0)


def _answers(*chain: Transform, inner: int = 0) -> AspectTerm:
    return AspectTerm(chain=(targets.probability, *chain), loss=losses.bce_loss, inner=inner)


def _calibrated(weigh: Transform | None = None) -> AspectTerm:
    """Answers corrected by those about a blank image and to negated questions."""
    chain = (calibrated.calibrated, targets.probability)
    return AspectTerm(chain=chain, loss=losses.bce_loss, weigh=weigh, probes=True)


def _weighted(weigh: Transform, probes: bool = False) -> AspectTerm:
    return AspectTerm(chain=(targets.probability,), loss=losses.bce_loss, weigh=weigh, probes=probes)


def _posterior(posterior: Transform = targets.class_posterior, inner: int = 0, answers: bool = True) -> ClassTerm:
    return ClassTerm(chain=(posterior,), loss=_CROSS_ENTROPY, inner=inner, answers=answers)


def _lavid(inner: int = 0) -> AspectTerm:
    chain = (targets.probability,)
    return AspectTerm(chain=chain, loss=losses.mse_loss, level="class", link="probability", inner=inner)


def _makd(source: str, *terms: AspectTerm | ClassTerm, head: Head = "wide") -> Method:
    """The labels at the last layer alone, and `terms`."""
    return Method(source=source, alpha=30.0, terms=terms, head=head, twin="base")


def _recommended(*control: Transform) -> Method:
    return Method(
        source="MaKD and the labels at inner stages too; images without a label learn the class that label propagation "
        "finds by their answers and their features",
        alpha=30.0,
        terms=(_answers(*control, inner=2), _posterior(targets.propagated, inner=2)),
        inner_labels=2,
        twin="recommended-without-answers",
    )


_MAKD = "MaKD, Lee et al., arXiv 2501.13341"


def _network(loss: Callable[..., Tensor], weight: float = 1.0) -> tuple[NetworkTerm, ...]:
    return (NetworkTerm(loss=lambda ours, theirs, labels: loss(ours, theirs), weight=weight),)


METHODS: dict[str, Method] = {
    "recommended": _recommended(),
    "base": Method(source="the labels alone"),
    "makd": _makd(_MAKD, _answers()),
    "makd-dual": _makd(f"{_MAKD}, with a head of its own", _answers(), head="dual"),
    "lavid": _makd("LaViD, arXiv 2606.27527: answers about the class", _lavid()),
    "recommended-classes": Method(
        source="LaViD at an inner stage too, and the labels there",
        alpha=30.0,
        terms=(_lavid(inner=1),),
        inner_labels=1,
        twin="labels-deep-1",
    ),
    "makd-deep": _makd(f"{_MAKD}, at inner stages too", _answers(inner=2)),
    "makd-calibrated": _makd(
        f"{_MAKD}; log-odds less those about a blank image, averaged with the negated question's", _calibrated()
    ),
    "makd-certainty": _makd(f"{_MAKD}, each answer weighted by its certainty", _weighted(calibrated.certainty)),
    "makd-information": _makd(
        f"{_MAKD}, each question weighted by its information about the class", _weighted(calibrated.information)
    ),
    "makd-consistency": _makd(
        f"{_MAKD}, each question weighted by its agreement with its negation",
        _weighted(calibrated.consistency, probes=True),
    ),
    "blend": _makd("MaKD and LaViD at once", _answers(), _lavid()),
    "posterior": Method(
        source="the class distribution given the answers, distilled", terms=(_posterior(),), twin="base"
    ),
    # From a KD teacher; together with others as "lskd+makd".
    "kd": Method(
        source="knowledge distillation, Hinton et al., arXiv 1503.02531",
        terms=_network(partial(losses.kd_loss, temperature=4.0)),
    ),
    "dkd": Method(
        source="decoupled, Zhao et al., arXiv 2203.08679",
        terms=(NetworkTerm(loss=partial(losses.dkd_loss, temperature=4.0, beta=2.0)),),
    ),
    "lskd": Method(
        source="logits standardised, Sun et al., arXiv 2403.01427",
        terms=_network(partial(losses.standardized_kd_loss, temperature=2.0), weight=9.0),
    ),
    "mlkd": Method(
        source="multi-level, Jin et al., CVPR 2023, logits standardised", terms=_network(losses.multi_level_kd_loss)
    ),
    # Images without a label learn without answers.
    "self-training": Method(
        source="images without a label learn the class that label propagation finds by their features alone",
        terms=(_posterior(targets.propagated_by_features, answers=False),),
    ),
    "fixmatch": Method(
        source="FixMatch, Sohn et al., arXiv 2001.07685", terms=(ConsistencyTerm(loss=losses.consistency_loss),)
    ),
    # Twins of the above: the same without what is learned from answers.
    "recommended-without-answers": Method(
        source="recommended without answers: the labels at inner stages too, and self-training by features",
        terms=(_posterior(targets.propagated_by_features, inner=2, answers=False),),
        inner_labels=2,
    ),
    "labels-deep": Method(source="the labels at two inner stages too, arXiv 1409.5185", inner_labels=2),
    "labels-deep-1": Method(source="the labels at one inner stage too, arXiv 1409.5185", inner_labels=1),
    # Controls: regularisation alone, and answers that are wrong or averaged.
    "label-smoothing": Method(source="Szegedy et al., arXiv 1512.00567", label_smoothing=0.1),
    "random": _makd(f"{_MAKD}, random targets", _answers(targets.random_uniform)),
    "shuffled": _makd("MaKD, answers about other images", _answers(targets.shuffle)),
    "shuffled-in-class": _makd("MaKD, answers about other images of the class", _answers(targets.shuffle_within_class)),
    "class-mean": _makd("MaKD, mean answers of the class", _answers(targets.class_mean)),
    "recommended-shuffled-in-class": _recommended(targets.shuffle_within_class),
    "recommended-class-mean": _recommended(targets.class_mean),
}


# What a method is where teachers were asked about the classes alone.
ABOUT_CLASSES = {"recommended": "recommended-classes"}


def method_about_classes(name: str) -> str:
    """The name, or names joined by "+", of what a method is where there are only answers about the classes."""
    return "+".join(ABOUT_CLASSES.get(part, part) for part in name.split("+"))


def method_named(name: str, alpha: float | None = None) -> Method:
    """The method of that name, or of several joined by "+"; `alpha` replaces that of each. Raises MethodUnknown."""
    parts: list[Method] = []
    names = name.split("+")
    for part in names:
        if names.count(part) > 1:
            raise MethodUnknown(f"method '{name}' names '{part}' twice; name each once")
        if part not in METHODS:
            raise MethodUnknown(f"method '{part}' is unknown; use one of {', '.join(METHODS)}, or several joined by +")
        method = METHODS[part]
        parts.append(method if alpha is None else method.with_alpha(alpha))
    first, *others = parts
    return functools.reduce(operator.add, others, first)


def twin_of(name: str, *, inner_stages: bool = True) -> str | None:
    """The method that is the same as `name`, or as names joined by "+", but for what is learned from answers: the
    difference between the two is what the answers add. None where nothing is learned from answers.

    Parts are in the order of METHODS, each once, without "base" beside others. Where nothing is learned at
    `inner_stages` it is the simplest method that learns the same (see `last_layer_method`). Raises MethodUnknown.
    """
    method_named(name)
    parts = name.split("+")
    if all(METHODS[part].twin is None for part in parts):
        return None
    twins = {METHODS[part].twin or part for part in parts}
    twin = "+".join(part for part in METHODS if part in twins and part != "base") or "base"
    return twin if inner_stages else last_layer_method(twin)


def labelled_method(name: str) -> str:
    """The simplest method that learns the same as `name`, or as names joined by "+", where every image has a label and
    self-training has nothing to learn from."""
    return "+".join(part for part in name.split("+") if part != "self-training") or "base"


def last_layer_method(name: str) -> str:
    """The simplest method that learns the same as `name`, or as names joined by "+", where nothing is learned at inner
    stages: "makd" for "makd-deep". Raises MethodUnknown.
    """
    method_named(name)
    parts = [part for part in map(_at_last_layer, name.split("+")) if part != "base"]
    if len(set(parts)) < len(parts):  # the same terms twice have no name of their own
        return name
    return "+".join(parts) or "base"


@functools.cache
def _at_last_layer(name: str) -> str:
    """The name of the method without inner stages whose outputs learn the same as those of `name` at the last layer;
    `name` where there is none."""

    def content(method: Method) -> Method:
        return dataclasses.replace(method.at_last_layer(), source="", twin=None)

    wanted = content(METHODS[name])
    return next((one for one, method in METHODS.items() if not method.inner and content(method) == wanted), name)
