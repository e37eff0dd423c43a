"""A package in number formats other than float32, and the weights that its graphs compute with."""
