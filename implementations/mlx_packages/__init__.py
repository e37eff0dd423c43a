"""What the woven packages on MLX have in common: sites, views of their values, loading, and faults mended in memory."""
