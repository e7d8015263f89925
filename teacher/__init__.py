"""Asks a vision-language model every question about every image."""

import storage  # noqa: F401  # before torch: see storage/platform/torchvision_ops.py
