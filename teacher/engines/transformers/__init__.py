"""transformers: on any machine."""
