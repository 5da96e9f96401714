"""What an image and a mask are: reading, checking, splitting and feeding labelled data."""
