"""What goes wrong with a record, whoever reads or writes it."""


class RecordError(Exception):
    """A run folder that is missing, in use, damaged, or not what it should be."""
