"""Printed figures held against computed ones, and what cannot be right in a spec."""
