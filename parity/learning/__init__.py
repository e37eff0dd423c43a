"""Contracts that nobody wrote: both sources are tapped everywhere, and values are paired by their content."""
