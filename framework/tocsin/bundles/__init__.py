"""The shipped folder: what transformers, sentence-transformers and Tocsin load, with all that a prediction needs.

Axes: N messages, L labels, D width.
"""
