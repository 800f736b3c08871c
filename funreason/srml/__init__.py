"""The self-refinement multiscale loss: parts, loss, batches, the training step."""
