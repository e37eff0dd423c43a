"""Runs parties: the process that each has, one run of a backend in it, and what is recorded meanwhile."""
