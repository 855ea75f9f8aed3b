"""Models, methods and data sets of your own, for kdopt to use by name.

``declare``: the decorators by which code offers them. ``sources``: files that a user gives by
``--plugin`` or ``KDOPT_PLUGINS``, and installed packages, which offer theirs as entry points.
``code``: which code a campaign uses, and whether a machine has the same.

A campaign file or a store names code and never brings any: what is run here was installed here, or
given here by path.
"""

from kdopt.campaign.shapes import TokenShape
from kdopt.plugins.declare import LabelledData, register_dataset, register_method, register_model
from kdopt.plugins.sources import give_plugins as load_plugins

__all__ = [
    "LabelledData",
    "TokenShape",
    "load_plugins",
    "register_dataset",
    "register_method",
    "register_model",
]
