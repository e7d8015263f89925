"""Datasets as annotation tools export them: FiftyOne, Label Studio, CVAT, labelImg."""
