"""How good a run is.

`evaluate` measures it on held-out scenes, `results` stores and prints the metrics, `compare` puts runs side by side,
`curves` plots metrics against the number of context views.
"""
