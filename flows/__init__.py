"""Prefect flows and the command line, which run the stages in order."""

import storage  # noqa: F401  # before torch: see storage/platform/torchvision_ops.py
