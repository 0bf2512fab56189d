"""Budgets and changes: which conditions a network must hold, and what moved since a baseline."""
