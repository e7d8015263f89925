"""Extraction: dataset and questions in, complete shards of answers out."""
