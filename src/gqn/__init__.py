"""Generative Query Networks (Eslami et al., Science 2018): train, measure, explain and show them."""

__version__ = "0.1.0"
