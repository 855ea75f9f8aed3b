"""The report of a campaign: one HTML page, and its tables, figures and trials as files.

- ``sections``: the parts of the page, one module each
- ``blocks``: what sections are made from and of
- ``columns``, ``export_columns``: the columns of tables on the page, and in files
- ``scales``, ``setting_maps``: scales of figures, and the maps of best settings
- ``verdict_text``, ``student_card``: verdicts in words, and the card of a student taken home
- ``page``: the list of sections, and the page made of them
- ``export``: the files of a report
- ``format``: numbers, names, CSV, Markdown and LaTeX
- ``plotting``: styles, colours and panels of all figures
- ``images``: figures as SVG, PNG and PDF
- ``advice_text``: rules and the paper's guide, as text and JSON
- ``advice_answer``: the answer for one pair, as text and JSON
"""
