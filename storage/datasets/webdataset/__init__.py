"""WebDataset: images and labels in tar files."""
