"""Baselines, one file each: those the papers compare with, and the strong simple ones."""
