"""Extraction: dataset and questions in, complete shards of answers out."""

SHARD_SIZE = 256  # images
