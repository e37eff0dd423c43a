"""Faults that nobody tuned for: drawn by rules from the source of ports, and looked for by learned tables."""
