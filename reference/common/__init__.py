"""What is the same for every model of transformers: its arithmetics, weaving, loading and schedules."""
