"""What is true: transformers' models, their contracts and oracles, and the embedded checkpoint."""
