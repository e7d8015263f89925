import torch

from student.core.aspects import Aspect, yes_probability


def test_outputs_are_log_odds_or_probabilities() -> None:
    aspects = [Aspect(key="a", text="?"), Aspect(key="b", text="?", link="probability")]
    outputs = torch.tensor([[0.0, 0.25], [100.0, 1.5]])
    assert yes_probability(outputs, aspects).tolist() == [[0.5, 0.25], [1.0, 1.0]]
