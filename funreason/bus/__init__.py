"""The bus: moves messages along the edges of a graph, from agent to agent.

It knows no agent by name and imports only the message types.
"""
