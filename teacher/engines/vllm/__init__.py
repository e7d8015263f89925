"""vLLM's offline engine."""
