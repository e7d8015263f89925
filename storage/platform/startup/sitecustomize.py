"""Runs at the start of the Python processes that vLLM starts from one of ours: see ../torchvision_ops.py."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import storage  # noqa: F401  # prepares imports of torchvision and transformers

# Only the first module of this name on the path is run: what the environment has of its own comes next.
_others = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
