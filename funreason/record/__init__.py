"""What is kept: the message types, the event kinds, the append-only log, the reducer that folds it, run folders.

Imports nothing else of this package but `calls`; everything above may import it.
"""
