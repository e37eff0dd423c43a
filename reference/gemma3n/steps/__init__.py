"""The contract of Gemma 3n: every step with its meaning, its source and the site where transformers computes it."""
