"""What to do with a new pair, learnt from finished ones.

- ``training_set``: features of finished pairs, what every action gained on each, and both as a file
- ``tree``: a decision tree from a pair's features to an action
- ``policies``: the tree and simpler rules
- ``regret``: what each of them loses on pairs that it does not know, which leads, and how far off
  what they promise is
- ``guide``: the paper's own guide, and what following it loses
- ``advise``: the advice for one pair
"""
