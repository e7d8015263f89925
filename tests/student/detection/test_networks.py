from __future__ import annotations

import pytest

from student.core.setting_errors import ConfigInvalid
from student.detection.model import build_detector
from tests.student.detection.small_detectors import KINDS, config, detector_of


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_torchvisions(kind: str) -> None:
    assert isinstance(detector_of(kind).network, KINDS[kind])
    base = build_detector(config(detector=kind), classes=3, box_aspects=0, image_aspects=0)
    assert type(base.network) is KINDS[kind]
    assert base.box_aspects is None


def test_backbones_that_give_no_pyramid_are_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"backbone 'test_vit' gives no maps of 64 px.* stride is 16"):
        build_detector(config(backbone="test_vit", finest_stride=32), classes=2, box_aspects=0, image_aspects=0)
    with pytest.raises(ConfigInvalid, match="timm has no backbone 'resnt18'; did you mean"):
        config(backbone="resnt18")
