"""How the next parameters of an open trial are chosen, also from what other pairs gained.

- ``samplers``: chooses the parameters of an open trial from the study's earlier trials
- ``prior``: results of finished pairs, and the table of them that a campaign learns from
- ``surrogate``: the model fitted to a prior, which predicts a new pair's results
- ``posterior``: the prediction for one pair, and how its own trials narrow it
- ``warm_start``: the prior of a campaign with ``sampler = "warm"``, and its pairs' posteriors
- ``full_grids``: stored pairs whose whole grid was measured
- ``replay``: how far a few trials go, measured on stored full grids
"""
