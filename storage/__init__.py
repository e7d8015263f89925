"""Datasets, questions, answers and the Parquet store that keeps them."""

from storage.platform import torchvision_ops

torchvision_ops.install()
