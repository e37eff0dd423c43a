"""How often right code is accused: candidates that are right, judged on drawn inputs."""
