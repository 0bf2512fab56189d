"""Time and memory of real runs."""
