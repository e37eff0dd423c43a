"""Runs known bugs of a reference as candidates: is each found, is it named, and how small a fault is seen at all?"""
