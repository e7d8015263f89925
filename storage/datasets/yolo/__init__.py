"""Detection datasets in YOLO's layout."""
