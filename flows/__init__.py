"""Puts the stages in order: Prefect flows and the command line."""

import storage  # noqa: F401  # before torch: see storage/platform/torchvision_ops.py
