"""Evaluation jobs on Ray Data."""
