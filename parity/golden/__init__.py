"""Golden fixtures: what the reference says of a scenario, kept small, to judge a candidate where it is not installed.

A golden holds no tensors, so a candidate runs free: there is nothing to put in place of its values. What can be said
then is where its error first exceeds what the reference itself errs there; see `parity.golden.judging`.
"""
