from typing import Any, cast

import pytest
import torch

from student.classification.config import StudentConfig
from student.classification.methods import METHODS, MethodUnknown, method_named
from student.classification.recipes import RECIPES, recipe
from student.core.setting_errors import ConfigInvalid
from tests.conftest import PROJECT


def test_every_method_says_where_it_comes_from() -> None:
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
        else:
            loss = cast(Any, term.loss)(outputs, targets)
        loss.backward()
        assert loss.shape == ()
        assert outputs.grad is not None
        assert outputs.grad.abs().sum() > 0


def test_the_documentation_lists_every_method_and_recipe() -> None:
    page = (PROJECT / "docs" / "students.md").read_text()
    assert [name for name in (*METHODS, *RECIPES) if f"`{name}`" not in page] == []
