"""Any language model of transformers as the reference, by a learned table; and small checkpoints of it, drawn."""
