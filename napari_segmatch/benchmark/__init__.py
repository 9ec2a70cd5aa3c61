"""Measure the method on a folder of cases whose true masks are known. Nothing here is needed to train or review."""
