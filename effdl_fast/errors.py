"""Exceptions of the library. Ops raise TypeError and ValueError; data, options and files have types of their own."""


class CorruptDataError(ValueError):
    """Compressed data is truncated, altered or not of a known format; nothing was decoded."""


class UserError(ValueError):
    """A mistake in what the user gave (data, options, files); the message says what to mend.

    The command line shows the message alone. Any other exception that reaches it is a defect and shows a traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file that the user named, or that has to be fetched first, is not there."""


class MissingPackageError(UserError, ImportError):
    """An optional package is not installed; the message says how to install it."""
