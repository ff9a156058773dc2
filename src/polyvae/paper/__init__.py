"""The paper's experiments and its claims."""
