"""Every architecture that two packages have: drawn small, learned, judged; what became of each in one table."""
