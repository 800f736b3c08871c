"""The bus moves messages along the edges of a graph, nothing else.

Declare a `graph`, have it checked (`checks`) and drawn (`drawing`), seat an `agent` at each node of a `scheduler.Bus`.
The bus knows no agent by name and imports nothing of this package but the types that travel.
"""
