"""Detection datasets in COCO's JSON."""
