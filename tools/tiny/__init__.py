"""How the embedded checkpoint was drawn and taught; see `reference/tiny/README.md`. No part of what is installed."""
