"""What a run leaves: its trace on disk, its statistics, and how far one run's values are from another's."""
