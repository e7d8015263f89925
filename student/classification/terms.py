"""What a method is made of: terms, each of targets and a loss, and how methods are joined."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from student.classification import targets
from student.classification.targets import Transform
from student.core.aspects import OutputKind

Level = Literal["image", "class"]
Head = Literal["wide", "dual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectTerm:
    """Outputs beside the classes, one for each question, that learn what `chain` makes of the answers.

    `level` says whose answers: those about each image, or those about its class. `link` says what an output is: the
    log-odds of yes or p(yes) itself. `loss` takes outputs and targets [B, Q]. `inner` is the number of stages before
    the last one that learn the same. `weigh` turns the log-odds into weights [N, Q] of the answers, the third argument
    of `loss`. `probes` says whether answers about a blank image and to negated questions are used.
    """

    chain: tuple[Transform, ...]
    loss: Callable[..., Tensor]
    level: Level = "image"
    link: OutputKind = "logit"
    weight: float = 1.0
    inner: int = 0
    weigh: Transform | None = None
    probes: bool = False


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

    @property
    def stands_for_labels(self) -> bool:
        """Whether the targets are of images without a label alone."""
        return bool(set(self.chain) & targets.PROPAGATED)


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
        return any(isinstance(term, ClassTerm) and term.stands_for_labels for term in self.target_terms)

    @property
    def uses_class_answers(self) -> bool:
        """Whether images without a label learn their class by answers about the classes, where there are any."""
        return any(targets.propagated in term.chain for term in self.target_terms)

    @property
    def uses_probes(self) -> bool:
        """Whether answers about a blank image and to negated questions are used."""
        return any(term.probes for term in self.aspect_terms)

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
