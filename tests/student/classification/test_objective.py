import dataclasses

import torch
from torch.nn import functional

from student.classification.examples import Examples
from student.classification.methods import method_named
from student.classification.model import Logits
from student.classification.objective import Objective
from student.core.aspects import Aspect

LABELS = torch.tensor([0, 3, 2])


def examples_of(*targets: torch.Tensor) -> Examples:
    return Examples(
        train_indices=torch.arange(3),
        val_indices=torch.arange(0),
        labels_N=LABELS,
        targets=targets,
        aspects=(Aspect(key="has_stripes", text="Has it stripes?"),),
    )


def test_the_loss_is_the_labels_plus_alpha_times_the_aspects() -> None:
    torch.manual_seed(0)
    p = torch.rand(3, 2)
    objective = Objective(method=method_named("makd", alpha=4.0), examples=examples_of(p))
    logits = Logits(torch.randn(2, 5), torch.randn(2, 2))
    losses = objective(logits, torch.tensor([2, 1]))
    classification = functional.cross_entropy(logits.class_logits_BC, LABELS[[2, 1]])
    aspects = functional.binary_cross_entropy_with_logits(logits.aspect_logits_BQ, p[[2, 1]])
    torch.testing.assert_close(losses["classification"], classification)
    torch.testing.assert_close(losses["aspects"], aspects)
    torch.testing.assert_close(losses["loss"], classification + 4 * aspects)
    assert losses["distillation"] == 0


def test_every_term_has_its_own_outputs() -> None:
    torch.manual_seed(0)
    image, classes = torch.rand(3, 2), torch.rand(3, 4)
    objective = Objective(method=method_named("makd+lavid", alpha=1.0), examples=examples_of(image, classes))
    logits = Logits(torch.randn(3, 5), torch.randn(3, 6))
    losses = objective(logits, torch.arange(3))
    aspects = functional.binary_cross_entropy_with_logits(logits.aspect_logits_BQ[:, :2], image)
    aspects = aspects + functional.mse_loss(logits.aspect_logits_BQ[:, 2:], classes)
    torch.testing.assert_close(losses["aspects"], aspects)


def test_inner_stages_learn_the_same_answers() -> None:
    torch.manual_seed(0)
    p = torch.rand(3, 2)
    objective = Objective(method=method_named("makd-deep", alpha=1.0), examples=examples_of(p))
    outer, inner = torch.randn(3, 2), torch.randn(3, 2)
    stage = Logits(torch.randn(3, 5), inner)
    losses = objective(Logits(torch.randn(3, 5), outer, (stage,)), torch.arange(3))
    expected = sum(functional.binary_cross_entropy_with_logits(said, p) for said in (outer, inner))
    torch.testing.assert_close(losses["aspects"], expected)
    assert losses["inner"] == 0


def test_inner_stages_learn_the_labels_where_the_method_says_so() -> None:
    objective = Objective(method=method_named("labels-deep"), examples=examples_of())
    outer, inner = torch.randn(3, 5), torch.randn(3, 5)
    nothing = torch.zeros(3, 0)
    losses = objective(Logits(outer, nothing, (Logits(inner, nothing),)), torch.arange(3))
    torch.testing.assert_close(losses["classification"], functional.cross_entropy(outer, LABELS))
    torch.testing.assert_close(losses["inner"], functional.cross_entropy(inner, LABELS))
    torch.testing.assert_close(losses["loss"], losses["classification"] + losses["inner"])


def test_answers_of_the_last_layer_are_not_learned_where_only_the_labels_are() -> None:
    torch.manual_seed(0)
    p = torch.rand(3, 2)
    outer, *inner = (Logits(torch.randn(3, 5), torch.randn(3, 2)) for _ in range(3))
    logits = outer._replace(inner=tuple(inner))
    both, answers, labels = (
        Objective(method=method_named(name, alpha=1.0), examples=examples_of(*targets))(logits, torch.arange(3))
        for name, targets in (("makd+labels-deep", (p,)), ("makd", (p,)), ("labels-deep", ()))
    )
    torch.testing.assert_close(both["aspects"], answers["aspects"])
    torch.testing.assert_close(both["inner"], labels["inner"])
    one = Objective(method=method_named("labels-deep-1"), examples=examples_of())(logits, torch.arange(3))
    torch.testing.assert_close(one["inner"], functional.cross_entropy(inner[-1].class_logits_BC, LABELS))


def test_aspects_never_reach_the_class_loss() -> None:
    objective = Objective(method=method_named("makd"), examples=examples_of(torch.rand(3, 2)))
    classes = torch.randn(3, 5)
    quiet = objective(Logits(classes, torch.zeros(3, 2)), torch.arange(3))
    loud = objective(Logits(classes, torch.full((3, 2), 50.0)), torch.arange(3))
    assert quiet["classification"] == loud["classification"]


def test_a_network_is_learned_from_by_the_class_outputs() -> None:
    torch.manual_seed(0)
    objective = Objective(method=method_named("kd"), examples=examples_of())
    logits = Logits(torch.randn(3, 5), torch.zeros(3, 0))
    same = objective(logits, torch.arange(3), logits.class_logits_BC)
    other = objective(logits, torch.arange(3), torch.randn(3, 5))
    torch.testing.assert_close(same["distillation"].item(), 0.0, atol=1e-6, rtol=0)
    assert other["distillation"] > 0.1
    torch.testing.assert_close(other["loss"], other["classification"] + other["distillation"])


def test_images_without_a_label_have_no_part_in_the_label_loss() -> None:
    examples = examples_of()
    labels = torch.tensor([0, -1, 2])
    objective = Objective(method=method_named("base"), examples=dataclasses.replace(examples, labels_N=labels))
    logits = Logits(torch.randn(3, 5), torch.zeros(3, 0))
    expected = functional.cross_entropy(logits.class_logits_BC[[0, 2]], torch.tensor([0, 2]))
    torch.testing.assert_close(objective(logits, torch.arange(3))["classification"], expected)
    nobody = objective(Logits(logits.class_logits_BC[1:2], torch.zeros(1, 0)), torch.tensor([1]))
    assert nobody["loss"] == 0


def test_images_with_a_label_and_those_named_by_propagation_weigh_the_same() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, -1, -1, -1])
    names = torch.randn(4, 5)
    names[[0, 3]] = torch.nan  # of the last image nothing is known
    examples = dataclasses.replace(examples_of(torch.rand(4, 2), names), labels_N=labels)
    objective = Objective(method=method_named("recommended"), examples=examples)
    outer, *inner = (Logits(torch.randn(4, 5), torch.randn(4, 2)) for _ in range(3))
    losses = objective(outer._replace(inner=tuple(inner)), torch.arange(4))

    def mean(classes: torch.Tensor) -> torch.Tensor:
        log_p, p = classes.log_softmax(dim=1), names.softmax(dim=1)
        divergences = [(p[row] * (p[row].log() - log_p[row])).sum() for row in (1, 2)]
        return torch.stack([-log_p[0, 0], *divergences]).mean()

    torch.testing.assert_close(losses["classification"] + losses["distillation"], mean(outer.class_logits_BC))
    torch.testing.assert_close(losses["inner"], sum(mean(stage.class_logits_BC) for stage in inner))
