"""Nouns: datasets, questions, answers and the Parquet store that keeps them."""
