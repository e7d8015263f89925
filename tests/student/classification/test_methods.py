import dataclasses
from typing import Any, cast

import pytest
import torch

from student.classification import targets as transforms
from student.classification.config import StudentConfig
from student.classification.methods import (
    METHODS,
    MethodUnknown,
    labelled_method,
    last_layer_method,
    method_named,
    twin_of,
)
from student.classification.recipes import RECIPES, recipe
from student.classification.terms import Method
from student.core.setting_errors import ConfigInvalid
from tests.conftest import PROJECT


def test_every_method_has_a_source() -> None:
    assert all(method.source for method in METHODS.values())


def test_methods_join_each_with_its_own_weight() -> None:
    both = method_named("lskd+makd")
    assert len(both.network_terms) == len(both.aspect_terms) == 1
    assert both.alpha * both.aspect_terms[0].weight == METHODS["makd"].alpha
    assert both.network_terms[0].weight == METHODS["lskd"].terms[0].weight
    weaker = method_named("lskd+makd", alpha=2.0)
    assert weaker.alpha * weaker.aspect_terms[0].weight == 2.0
    assert weaker.network_terms == both.network_terms
    assert method_named("lskd+makd", alpha=0.0).terms == both.network_terms


def without_answers(method: Method) -> Method:
    """What is left of a method without its answer terms; where it comes from, and weights of nothing, do not count.
    Label propagation by answers and features leaves that by features."""
    inner_labels = method.inner_labels
    by_features = METHODS["self-training"].target_terms[0]
    left = [
        dataclasses.replace(by_features, inner=term.inner)
        for term in method.answer_terms
        if transforms.propagated in term.chain
    ]
    assert all(term.inner <= inner_labels or inner_labels == 0 for term in method.answer_terms)
    return Method(
        source="",
        terms=(*method.network_terms, *left),
        label_smoothing=method.label_smoothing,
        inner_labels=inner_labels,
    )


@pytest.mark.parametrize("name", [*METHODS, "lskd+lavid", "label-smoothing+makd", "kd+recommended", "posterior+mlkd"])
def test_a_twin_is_the_same_method_without_its_answer_terms(name: str) -> None:
    method, twin = method_named(name), twin_of(name)
    assert (twin is None) == (not method.answer_terms)
    if twin is not None:
        found = dataclasses.replace(method_named(twin), source="")
        assert found == without_answers(method)
        assert found.inner == method.inner_labels
        assert twin_of(twin) is None


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("makd", "base"),
        ("recommended", "recommended-without-answers"),
        ("recommended-class-mean", "recommended-without-answers"),
        ("recommended-classes", "labels-deep-1"),
        ("kd", None),
        ("kd+lskd", None),
        ("lskd+lavid", "lskd"),
        ("makd+lavid", "base"),
        ("makd+label-smoothing", "label-smoothing"),
        ("recommended+kd", "kd+recommended-without-answers"),
        ("makd+labels-deep", "labels-deep"),
        ("base+makd", "base"),
    ],
)
def test_twins_have_one_name_each(name: str, twin: str | None) -> None:
    assert twin_of(name) == twin


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("makd-deep", "base"),
        ("kd+recommended-classes", "kd"),
        ("recommended-class-mean", "self-training"),
        ("makd", "base"),
        ("recommended", "self-training"),
        ("recommended+kd", "kd+self-training"),
    ],
)
def test_twins_at_the_last_layer_differ_there(name: str, twin: str) -> None:
    assert twin_of(name, inner_stages=False) == twin
    ours, theirs = method_named(name).at_last_layer(), method_named(twin).at_last_layer()
    assert dataclasses.replace(theirs, source="") == without_answers(ours)


@pytest.mark.parametrize("name", [*METHODS, "kd+recommended-without-answers", "makd+makd-deep"])
def test_the_last_layer_learns_the_same_by_the_simplest_method(name: str) -> None:
    simplest = last_layer_method(name)
    ours, theirs = method_named(name).at_last_layer(), method_named(simplest).at_last_layer()
    assert dataclasses.replace(ours, source="", twin=None) == dataclasses.replace(theirs, source="", twin=None)
    assert last_layer_method(simplest) == simplest


def test_with_all_labels_nothing_is_left_of_self_training() -> None:
    assert labelled_method("self-training") == labelled_method("base") == "base"
    assert labelled_method("kd+self-training") == "kd"
    assert labelled_method("recommended-without-answers") == "recommended-without-answers"


def test_only_known_methods_have_a_twin() -> None:
    with pytest.raises(MethodUnknown, match="method 'mkad' is unknown"):
        twin_of("kd+mkad")


@pytest.mark.parametrize(
    ("name", "aspects", "labels"),
    [("makd+labels-deep", (0,), 2), ("lavid+labels-deep-1", (0,), 1), ("recommended+lavid", (2, 0), 2)],
)
def test_terms_of_a_sum_act_at_the_inner_stages_of_their_own_part(
    name: str, aspects: tuple[int, ...], labels: int
) -> None:
    method = method_named(name)
    assert tuple(term.inner for term in method.aspect_terms) == aspects
    assert (method.inner_labels, method.inner) == (labels, labels)


def test_an_unknown_method_is_one_line() -> None:
    with pytest.raises(MethodUnknown, match="method 'mkad' is unknown; use one of recommended, base, makd"):
        method_named("makd+mkad")
    with pytest.raises(ConfigInvalid, match="method 'mkad' is unknown"):
        recipe("small", method="mkad")


def test_a_network_to_learn_from_has_to_be_given() -> None:
    with pytest.raises(ConfigInvalid, match="method 'kd\\+makd' learns from a KD teacher, but none is given"):
        recipe("small", method="kd+makd")
    assert recipe("small", method="kd+makd", network="runs/large").objective.network_terms


def test_settings_that_a_method_makes_no_use_of_do_not_tell_runs_apart() -> None:
    config = recipe("small", method="base", alpha=3.0, question_count=7, network="runs/large")
    assert config.effective() == recipe("small", method="base").effective()
    used = StudentConfig.from_dict(config.to_dict() | {"method": "kd+makd"})
    assert used.effective() == used


@pytest.mark.parametrize("name", METHODS)
def test_every_loss_is_a_number_with_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    method = METHODS[name]
    for term in method.terms:
        outputs = torch.randn(4, 6, requires_grad=True)
        targets = torch.rand(4, 6)
        if term in method.network_terms:
            loss = term.loss(outputs, targets, torch.tensor([0, 1, 2, 3]))
        elif term in method.consistency_terms:
            loss = cast(Any, term.loss)(100 * torch.eye(4, 6), outputs, torch.tensor([0, -1, -1, 3]))
        else:
            loss = cast(Any, term.loss)(outputs, targets)
        loss.backward()
        assert loss.shape == ()
        assert outputs.grad is not None
        assert outputs.grad.abs().sum() > 0


def test_the_documentation_lists_every_method_and_recipe() -> None:
    page = (PROJECT / "docs" / "students.md").read_text()
    assert [name for name in (*METHODS, *RECIPES) if f"`{name}`" not in page] == []
