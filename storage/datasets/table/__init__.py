"""Datasets described by tables of paths and labels."""
