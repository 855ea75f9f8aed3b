"""The report of a campaign: one HTML page, and its tables, figures and trials as files.

- ``sections``: the parts of the page, one module each
- ``blocks``: what sections are made from and of; the columns of all tables
- ``page``: the list of sections, and the page made of them
- ``export``: the files of a report
- ``format``: numbers, names, CSV, Markdown and LaTeX
- ``plotting``: styles, colours and panels of all figures
- ``images``: figures as SVG, PNG and PDF
- ``guide_text``: the paper's guide, as text and JSON
- ``advice_text``, ``advice_answer``: rules as text, and the answer for one pair as text and JSON
"""
