"""What runs around the agents: which agent is at each node, the run's graph, journal, resume and control socket."""
