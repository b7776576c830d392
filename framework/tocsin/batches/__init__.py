"""From messages to batches: tokenise once, cut each optimiser step into passes, remember the position.

Axes of tensor names: B messages in a pass, T tokens, L labels, N messages.
"""
