"""A vision-language model of 5 MB that knows one small world, so that everything runs offline."""
