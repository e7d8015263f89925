"""Parquet and Arrow files that hold images, in the layout of Hugging Face."""
