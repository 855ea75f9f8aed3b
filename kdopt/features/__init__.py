"""What tells teacher-student pairs apart before anything is distilled.

- ``definitions``: the features of a pair, computed from plain arrays
- ``measurements``: what was measured once of a partition, and one row of features per pair
- ``measuring``: asks pre-trained models about each other's images (the only module with torch)
"""
