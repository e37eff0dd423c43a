"""What every implementation of Gemma 3n shares: configuration, prompt, weight names and the generation loop.

Nothing here imports a framework.
"""
