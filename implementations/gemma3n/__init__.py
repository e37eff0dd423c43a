"""What every implementation of Gemma 3n shares: configuration, preprocessing, weight names, the generation loop.

Nothing here imports a framework.
"""
