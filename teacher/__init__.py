"""Asks a vision-language model every question about every image."""
