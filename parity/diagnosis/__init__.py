"""The name of the cause: an introduced step's error, held against what known bugs and generic faults would cause."""
