"""From a budget in bytes to a plan: what a step would take, rehearsed, and the first way that fits."""
