"""What a network costs: reports per layer and in total, derivations, comparisons, conventions."""
