"""Trains small classifiers that learn the labels and the answers together."""

import storage  # noqa: F401  # before torch: see storage/platform/torchvision_ops.py
