"""The methods: what students learn besides the labels, each a few terms of targets and a loss.

A method is named in the config; names joined by "+" are learned together, e.g. "lskd+lavid".
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from storage.errors import InputInvalid
from student.classification import targets
from student.classification.targets import Transform
from student.core import losses
from student.core.aspects import OutputKind

Level = Literal["image", "class"]
Head = Literal["wide", "dual"]


class MethodUnknown(InputInvalid):
    """There is no such method; the message names those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectTerm:
    """Outputs beside the classes, one for each question, that learn what `chain` makes of the answers.

    `level` says whose answers: those about each image, or those about its class. `link` says what an output is: the
    log-odds of yes or p(yes) itself. `loss` takes outputs and targets [B, Q]. `inner` is the number of stages before
    the last one that learn the same.
    """

    chain: tuple[Transform, ...]
    loss: Callable[[Tensor, Tensor], Tensor]
    level: Level = "image"
    link: OutputKind = "logit"
    weight: float = 1.0
    inner: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTerm:
    """The class outputs learn a distribution over the classes that `chain` makes of the answers, or, where `answers` is
    false, of the features of the pretrained backbone alone (`ImageLabels.features`).

    `loss` takes class logits and target logits [B, C]. `inner` as for AspectTerm.
    """

    chain: tuple[Transform, ...]
    loss: Callable[[Tensor, Tensor], Tensor]
    level: Level = "image"
    weight: float = 1.0
    inner: int = 0
    answers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyTerm:
    """The class outputs for a strongly augmented view of an image without a label learn from those for the weakly
    augmented one. `loss` takes the class logits of both [B, C], the weak ones first, and labels [B].
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTerm:
    """The class outputs learn those of a KD teacher for the same pixels.

    `loss` takes class logits and the network's [B, C], and labels [B].
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    weight: float = 1.0


Term = AspectTerm | ClassTerm | ConsistencyTerm | NetworkTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Terms that are added to the labels' cross-entropy, each times its weight; aspects times `alpha` as well, which a
    config may replace. `source` says where the method comes from.

    `head` "wide" gives the last layer more outputs; "dual" gives the aspects a head of their own, a hidden layer wide.
    `inner_labels` is the number of the backbone's stages before the last one that learn the labels too. Inner stages
    learn by a linear layer on their mean features that only training has (deeply supervised nets, Lee et al.,
    arXiv 1409.5185).

    `twin` names the method that is the same but for what is learned from answers, the baseline for what the answers
    add; None where nothing is learned from answers.
    """

    source: str
    terms: tuple[Term, ...] = ()
    alpha: float = 1.0
    head: Head = "wide"
    label_smoothing: float = 0.0
    inner_labels: int = 0
    twin: str | None = None

    @property
    def inner(self) -> int:
        """The number of stages before the last one that learn anything."""
        return max([self.inner_labels, *(term.inner for term in self.target_terms)])

    @property
    def target_terms(self) -> tuple[AspectTerm | ClassTerm, ...]:
        """Those with a target for every image, in the order of `Examples.targets`."""
        return tuple(term for term in self.terms if isinstance(term, AspectTerm | ClassTerm))

    @property
    def answer_terms(self) -> tuple[AspectTerm | ClassTerm, ...]:
        return tuple(term for term in self.target_terms if isinstance(term, AspectTerm) or term.answers)

    @property
    def uses_features(self) -> bool:
        """Whether images without a label learn by their features, where the backbone is a pretrained one."""
        return any(set(term.chain) & targets.BY_FEATURES for term in self.target_terms)

    @property
    def consistency_terms(self) -> tuple[ConsistencyTerm, ...]:
        return tuple(term for term in self.terms if isinstance(term, ConsistencyTerm))

    @property
    def aspect_terms(self) -> tuple[AspectTerm, ...]:
        return tuple(term for term in self.terms if isinstance(term, AspectTerm))

    @property
    def network_terms(self) -> tuple[NetworkTerm, ...]:
        return tuple(term for term in self.terms if isinstance(term, NetworkTerm))

    def with_alpha(self, alpha: float) -> Method:
        """The same with another weight on the aspects; for 0 without anything that is learned from answers."""
        terms = self.terms if alpha > 0 else tuple(term for term in self.terms if term not in self.answer_terms)
        return dataclasses.replace(self, terms=terms, alpha=alpha)

    def at_last_layer(self) -> Method:
        """The same without what is learned at inner stages."""
        terms = tuple(
            dataclasses.replace(term, inner=0) if isinstance(term, AspectTerm | ClassTerm) else term
            for term in self.terms
        )
        return dataclasses.replace(self, terms=terms, inner_labels=0)

    def __add__(self, other: Method) -> Method:
        """Both at once: each term with its own alpha and at its own inner stages. Twins of sums: see `twin_of`."""
        return Method(
            source=f"{self.source}; {other.source}",
            terms=(*self._weighted(), *other._weighted()),
            head="dual" if "dual" in (self.head, other.head) else "wide",
            label_smoothing=max(self.label_smoothing, other.label_smoothing),
            inner_labels=max(self.inner_labels, other.inner_labels),
        )

    def _weighted(self) -> tuple[Term, ...]:
        return tuple(
            dataclasses.replace(term, weight=self.alpha * term.weight) if isinstance(term, AspectTerm) else term
            for term in self.terms
        )


# Up to a constant, of the student's distribution against the target's.
_CROSS_ENTROPY = partial(losses.kd_loss, temperature=1.0)


def _answers(*chain: Transform, inner: int = 0) -> AspectTerm:
    return AspectTerm(chain=(targets.probability, *chain), loss=losses.bce_loss, inner=inner)


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


def twin_of(name: str, *, frozen: bool = False) -> str | None:
    """The method that is the same as `name`, or as names joined by "+", but for what is learned from answers: the
    difference between the two is what the answers add. None where nothing is learned from answers.

    Parts are in the order of METHODS, each once, without "base" beside others; where the backbone is `frozen`, also
    without those that differ from it at inner stages alone. Raises MethodUnknown.
    """
    method_named(name)
    parts = name.split("+")
    if all(METHODS[part].twin is None for part in parts):
        return None
    twins = {METHODS[part].twin or part for part in parts}
    return "+".join(part for part in METHODS if part in twins and not _is_base(METHODS[part], frozen)) or "base"


def _is_base(method: Method, frozen: bool) -> bool:
    return not (method.terms or method.label_smoothing or (method.inner_labels and not frozen))
