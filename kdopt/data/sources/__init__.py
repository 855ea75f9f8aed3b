"""Where images come from: one module per data set or format, each with ``read_NAME(settings)``.

``base``: the data set they return, and how files are found. ``image_files``: decoding image files.
"""
