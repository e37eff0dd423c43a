"""What every part of the MLX model computes with: its operations, and the BLAS below them."""
