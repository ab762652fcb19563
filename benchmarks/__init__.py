"""Measurements, each a program of its own: ``make bench`` runs them all and prints their tables."""
