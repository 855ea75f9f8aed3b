"""The store in a browser: optuna-dashboard, read only, and studies that sum a campaign up.

- ``server``: serves optuna-dashboard; refuses writes, unknown host names and readers without token
- ``signin``: the token, and the page that asks for it
- ``pair_index``: one summary study per partition, with a line per pair
- ``campaign_index``: all summary studies of a campaign, and the one on many teachers
"""
