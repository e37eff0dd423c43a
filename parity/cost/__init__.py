"""What a candidate's numbers cost against the original weights: quantisation, told apart from bugs by `compare`."""
