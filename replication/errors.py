"""Errors that speak to a person: what was expected, what was found, what to do."""


class ReplicationError(Exception):
    """A problem that the reader can act on; its text is one clear sentence."""


class DataUnavailable(ReplicationError):
    """A data set is not on this machine; the text says how to get it, or why nobody can."""


class Diverged(ReplicationError):
    """The loss of a training is no longer a number; the text says in which epoch."""
