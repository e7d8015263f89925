"""A vision-language model of 5 MB for rendered scenes, so that everything runs offline."""
