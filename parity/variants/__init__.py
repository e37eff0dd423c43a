"""Runs known bugs of a reference as candidates: whether each is found and named, and how small a fault is seen at all."""
