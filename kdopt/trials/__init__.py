"""What runs: the outcome of one trial, computed with torch and without a database.

- ``interfaces``: what trials need of the world around them
- ``context``: what a worker keeps between trials; ``cache``: the cache it uses
- ``pretrain``, ``control``, ``tune``, ``compare``, ``combine``, ``federate``: one module per stage
- ``runners``: all of them; ``trained``: the models that they leave
"""
