"""Ask part of the pairs of image and question, predict the rest, and bound the error of the prediction."""
