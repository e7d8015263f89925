import pytest
import torch

from student.core.setting_errors import ConfigInvalid
from student.core.stages import Stage, inner_stages


def test_stages_of_any_layout_are_pooled() -> None:
    maps = torch.randn(2, 6, 4, 5)
    stage = Stage("", 6)
    torch.testing.assert_close(stage.pool(maps.permute(0, 2, 3, 1)), stage.pool(maps))
    torch.testing.assert_close(stage.pool(maps.flatten(2).transpose(1, 2)), stage.pool(maps))


def test_a_backbone_with_too_few_stages_is_refused() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with pytest.raises(ConfigInvalid, match="at 2 inner stage\\(s\\), but this backbone has 0; take another backbone"):
        inner_stages(network[:1], 2, 8)
