"""Detectors that learn boxes, classes and aspects together."""
