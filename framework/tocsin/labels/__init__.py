"""What a message can mean: label schemes. Import from `tocsin.labels.schemes`.

This package imports nothing by itself.
"""
