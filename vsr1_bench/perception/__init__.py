"""The second pass: a reader answers from the description, without the image."""
