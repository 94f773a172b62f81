"""Layers that draw random numbers for each image of a batch."""
