"""A checkpoint's parts as Core ML packages: torch modules, traced and converted."""
