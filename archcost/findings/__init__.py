"""Printed figures compared with computed ones, and what cannot be right in a spec."""
