"""What the Neural Engine can: the range of its numbers, their rounding, and operations in the form that it runs."""
