"""The last layer of a backbone: found, and replaced by two with a hidden layer between them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from student.core.setting_errors import ConfigInvalid


def classifiers_of(network: nn.Module) -> Sequence[nn.Module]:
    """The last layer of a timm or torchvision classifier; several where it has a head for each of its branches, or one
    that is to be distilled."""
    if hasattr(network, "get_classifier"):
        classifier = network.get_classifier()  # type: ignore[operator]
        return list(classifier) if isinstance(classifier, tuple | list | nn.ModuleList) else [classifier]
    return [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]


def add_hidden_layer(network: nn.Module, width: int, drop_rate: float, backbone: str) -> None:
    """Put a layer of `width` outputs, GELU and dropout before the last layer of `network`, which is drawn anew. Raises
    ConfigInvalid for a backbone whose last layer is not a single linear one."""
    classifiers = classifiers_of(network)
    if len(classifiers) != 1 or not isinstance(last := classifiers[0], nn.Linear):
        raise ConfigInvalid(
            f"backbone '{backbone}' does not end in a single linear layer, which 'hidden' needs; "
            f"take another backbone, or leave hidden out"
        )
    name = next(name for name, module in network.named_modules() if module is last)
    layers = nn.Linear(last.in_features, width), nn.GELU(), nn.Dropout(drop_rate), nn.Linear(width, last.out_features)
    network.set_submodule(name, nn.Sequential(*layers))
