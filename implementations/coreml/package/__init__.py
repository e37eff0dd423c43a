"""The folder of converted parts: what is in it, and the programs that its packages hold."""
