"""What went wrong, told to a person."""


class BadInput(Exception):
    """Something the user gave or has cannot be used; the message is one line that names it and the way out.

    The command line prints the message alone and exits with 2.
    """


class Absent(BadInput):
    """Files that the user names are not there."""


class Unfamiliar(UserWarning):
    """A model is asked about cameras that are not like those it was trained on, so that its answers will be worse."""
