"""A parity harness: does a port of a model compute what the reference computes, and if not, where and why?"""
