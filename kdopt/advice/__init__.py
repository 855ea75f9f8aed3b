"""What to do with a new pair, learnt from finished ones.

- ``training_set``: features of finished pairs, and what every action gained on each
- ``lessons``: the same as a file, such as the one that comes with kdopt
- ``tree``: a decision tree from a pair's features to an action
- ``policies``: the tree and simpler rules
- ``regret``: what each of them loses on pairs that it does not know, and which leads
- ``calibration``: how far off what they promise is, and intervals that hold
- ``guide``, ``guide_regret``: the paper's own guide, and what following it loses
- ``advise``: the advice for one pair
"""
