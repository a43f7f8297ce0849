"""One file an operation: exact in the forward pass, its gradient from what was kept."""
