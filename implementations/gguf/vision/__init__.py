"""Pictures as llama.cpp sees them: libmtmd's graph of the vision tower, tapped at every step."""
