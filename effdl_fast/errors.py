"""Exceptions of the library. User errors are TypeError and ValueError; only damaged data has a type of its own."""


class CorruptDataError(ValueError):
    """Compressed data is truncated, altered or not of a known format; nothing was decoded."""
