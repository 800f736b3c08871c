"""What is kept: event kinds, the append-only log, the reducer that folds it, run folders.

Imports nothing else of this package but `types`; everything above may import it.
"""
