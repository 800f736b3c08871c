"""What can go wrong in scoring that is not the model's fault, and the one thing that is.

`BfclError` leaves this package: data, files or an extra that is missing, always with the remedy.
`Undecodable` never does: it is how a decoder says that an output holds no calls, and becomes a verdict.
"""

from __future__ import annotations


class BfclError(ValueError):
    """Data, files or an installation that scoring cannot work with; the message says where and what to do."""


class Undecodable(Exception):
    """The output cannot be read as calls: the official word for it is `ast_decoder:decoder_failed`."""
