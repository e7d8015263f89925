"""Trains small classifiers that learn the labels and the answers together."""
