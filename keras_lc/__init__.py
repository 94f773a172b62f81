"""Convolutions with random filters and trained linear combinations of them, for Keras 3."""

__version__ = "0.1.0"
