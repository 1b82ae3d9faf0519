"""Helpers that know nothing of GQNs: console output and progress, devices, files, signals, options, lookup by name."""
