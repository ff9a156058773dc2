"""Training: the loop, its checkpoints, and the processes that share a batch."""
