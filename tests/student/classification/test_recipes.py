import pytest

from student.classification.recipes import RECIPES, recipe
from student.core.setting_errors import ConfigInvalid


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(name: str) -> None:
    assert recipe(name, epochs=250).epochs == 250


def test_the_paper_recipe_is_the_papers() -> None:
    config = recipe("paper")
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("sgd", 0.01, 0.9, 1e-4)
    assert (config.batch_size, config.epochs, config.milestones, config.decay_rate) == (16, 240, (150, 180, 210), 0.1)
    assert (config.image_size, config.shown_size, config.crop_scale, config.flip) == (224, 224, (0.08, 1.0), 0.5)
    assert (config.pretrained, config.nesterov, config.alpha) == (False, False, 4.0)


def test_an_unknown_recipe_names_those_that_exist() -> None:
    with pytest.raises(
        ConfigInvalid, match="recipe 'papers' is unknown; use one of paper, lavid, demo, small, probe, finetune"
    ):
        recipe("papers")


def test_the_lavid_recipe_is_the_papers_but_for_what_lavid_changes() -> None:
    paper, lavid = (recipe(name).to_dict() for name in ("paper", "lavid"))
    differing = {name for name in paper if paper[name] != lavid[name]}
    assert differing == {"method", "alpha", "weight_decay", "resize_size"}
    assert (lavid["weight_decay"], lavid["resize_size"], lavid["method"]) == (5e-4, 256, "lavid")
