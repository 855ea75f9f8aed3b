"""What to do with a new pair, learnt from finished ones.

- ``training_set``: features of finished pairs, and what every action gained on each
- ``tree``: a decision tree from a pair's features to an action
- ``policies``: what the tree loses on pairs that it does not know, beside simpler policies
- ``advise``: the advice for one pair, with calibrated intervals
"""
