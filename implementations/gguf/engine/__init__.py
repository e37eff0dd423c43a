"""llama.cpp as a library: its C interface, and the memory of its tensors as NumPy's."""
