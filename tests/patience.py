"""How long tests wait for a process that ought to end by itself."""

PATIENCE_S = 600
"""For one that hangs, and for no other: how slow a loaded machine may be is no test's business."""
