"""What every part of the exported model computes with."""
