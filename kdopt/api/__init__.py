"""Python's way in: what is in a store, as tables and figures.

``stores``: a store and its campaigns. It is reached as ``kdopt.open``.
"""
