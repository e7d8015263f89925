"""Teacher engines: images and questions in, two log-probabilities for each pair out."""
