import pytest

from student.core.setting_errors import ConfigInvalid
from student.detection.trainable import require_trainable_detector
from tests.student.detection.small_detectors import config


@pytest.mark.parametrize("method", ["base", "both"])
def test_a_small_detector_can_be_trained(method: str) -> None:
    require_trainable_detector(config(method=method))


def test_untrainable_networks_are_rejected_by_name() -> None:
    with pytest.raises(ConfigInvalid, match=r"^backbone 'test_vit' gives no maps of 64 px"):
        require_trainable_detector(config(backbone="test_vit", finest_stride=32))
