"""What a network takes of memory: kept for backward, at the peak, on a device; and what fits."""
