"""Audits a package: what it computes as installed, what each of its known faults does, and what is left unexplained."""
