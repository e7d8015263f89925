"""An exponential moving average of a network's weights, which is evaluated and kept in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from timm.utils import ModelEmaV3  # type: ignore[attr-defined]
from torch import Tensor, nn


class WeightAverage:
    """The average of all weights and buffers of `network` over its updates, by timm.

    After update t (from 0) the average moves towards the weights by 1 - min(`decay`, 1 - (1 + t)^-2/3): the first
    updates, far from the last weights, are forgotten soon, however few there are in all.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._average = ModelEmaV3(network, decay=decay, use_warmup=True)

    def update(self, network: nn.Module, number: int) -> None:
        """After update `number` of the whole training."""
        self._average.update(network, step=number + 1)

    def state_dict(self) -> dict[str, Tensor]:
        return self._average.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._average.module.load_state_dict(state)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """`network` has the average's weights while the block runs."""
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.state_dict())
        try:
            yield
        finally:
            network.load_state_dict(own)
