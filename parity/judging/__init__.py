"""Judges: what a candidate is held to, the verdict on each step and token, and what follows from them."""
