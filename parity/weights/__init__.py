"""The tensors of a checkpoint, whoever wrote its files: by one spelling of their names, and as plain numbers."""
