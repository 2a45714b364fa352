"""Faces to train on: face lists, drawn people, and batches of either."""
