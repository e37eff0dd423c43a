"""What makes and measures parts of the project. Not installed."""
