"""Messages before any model: readers, cleaning profiles, duplicate groups, splits and the data audit.

Import from the modules (`tocsin.text.readers`, `.cleaners`, `.messages`, `.duplicates`, `.splitters`,
`.audit`); this package imports nothing by itself.
"""
