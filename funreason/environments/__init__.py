"""Where a policy's turns lead: the environments, and the rollout of a policy in one of them."""
