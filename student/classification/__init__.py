"""Classifiers that learn labels and answers together."""
