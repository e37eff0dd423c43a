"""Reports: what the judge found, for people (terminal) and for programs (JSON)."""
