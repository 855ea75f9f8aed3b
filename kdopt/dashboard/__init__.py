"""The store in a browser: optuna-dashboard, read only, and studies that sum a campaign up.

- ``server``: serves optuna-dashboard; refuses writes, unknown host names and readers without token
- ``signin``: the token, and the page that asks for it
- ``listing``: the list of studies as people want it, without buttons that cannot work
- ``live_page``: a campaign's report page while its workers run
- ``pair_index``: one summary study per partition, with a line per pair, and a note on
  each pair's own studies
- ``campaign_index``: all summary studies of a campaign, and the one on many teachers
"""
