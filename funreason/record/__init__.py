"""The record of a run: events, the append-only log, the reducer that folds it, and the run folder.

It imports only the message types; everything above may import it.
"""
