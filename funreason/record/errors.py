"""What goes wrong with a record, whoever reads or writes it."""


class RecordError(Exception):
    """A run folder that is missing, in use, damaged, or not what it should be."""

    stops_run = True
    """Whoever meets it on the bus is not asked again: what cannot be recorded must not go on."""
