"""What a running loop needs around its agents: stop requests, the journal, resume, the graph with its agents."""
