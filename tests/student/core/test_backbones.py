import pytest
import timm
import torch

from student.core.backbones import network_errors, to_channels_last
from student.core.setting_errors import ConfigInvalid


def test_errors_of_a_network_are_one_line() -> None:
    refused = network_errors("backbone 'x' fails (", "); take another one")
    with pytest.raises(ConfigInvalid, match=r"^backbone 'x' fails \(KeyError: 'a b'\); take another one$"), refused:
        raise KeyError("a b")


def test_errors_about_settings_stay_as_they_are() -> None:
    with pytest.raises(ConfigInvalid, match=r"^as it was$"), network_errors("before "):
        raise ConfigInvalid("as it was")


def test_channels_last_computes_the_same() -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
        found = to_channels_last(network)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
