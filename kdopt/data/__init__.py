"""Images and how they are split: numpy only, no torch.

``datasets``: a campaign's images. ``splits``: validation, public sets and every participant's
images. ``partition``: the paper's five partitions. ``sources/``: reading each data set.
"""
