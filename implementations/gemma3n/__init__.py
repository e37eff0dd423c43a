"""What our ports of Gemma 3n share: configuration, preprocessing, weight names, and what they do as backends.

Nothing here imports a framework.
"""
