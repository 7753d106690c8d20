"""What is refused in a user's tensors, names and files; the command line shows these errors as mistakes of the user."""


class Refused(Exception):
    """Never raised itself: it marks its subclasses, which for callers are TypeError and ValueError."""


class RefusedType(Refused, TypeError):
    pass


class RefusedValue(Refused, ValueError):
    pass
