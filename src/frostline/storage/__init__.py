"""How the activations that an operation keeps wait for the backward pass."""
