"""What is asked: a campaign and the studies it needs, without torch or a database.

``settings``, ``stage_settings``: every setting, declared once. ``fields``: what a setting says of
itself. ``spec``: campaign files. ``record``: what the store keeps, and as a file again. ``names``:
study names and seeds. ``studies``, ``stages``: planning. ``compatibility``: how one may grow.
"""
