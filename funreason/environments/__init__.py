"""Environments, and the rollout of a policy in one of them: this is how a sample comes to be."""
