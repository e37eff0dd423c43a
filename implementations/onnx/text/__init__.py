"""The language model as torch modules that are written to be exported; parameter names are the checkpoint's."""
