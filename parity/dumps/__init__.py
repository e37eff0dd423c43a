"""Dumps of other tools, whose tensors have names of their own: read, and paired with an oracle's steps by content."""
