"""Encoders, poolings, heads and losses, and the LightningModules that wire them.

Axes of tensor names: B messages in a pass, T tokens, D encoder width, F features of a head, L labels, V vocabulary.
"""
