"""The Parquet store: shards of answers, written whole, resumed, reused, read and pruned."""

from storage.answers.scan import scan_answers

__all__ = ["scan_answers"]
