"""What runs programs over primitives: on tensors without numbers, to see what memory they take."""
