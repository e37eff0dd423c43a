"""What makes the inputs of Gemma 3n of text, pictures and sounds: token ids, pixels and mel features."""
