"""The sections of the page: each module has the tables, figures, texts and files of one.

A section says what to run where it has nothing to show. To add one, write a function from
:class:`kdopt.report.blocks.ReportData` to :class:`kdopt.report.blocks.Section` and list it in
:data:`kdopt.report.page.SECTIONS`.

- ``headline``: the answer, for the terminal too
- ``run``: what was run, with progress, participants, cost and settings
- ``best_settings``: maps of the best temperature and alpha; tuned methods
- ``methods``: methods compared, the search and its noise
- ``teachers``: which teachers help, learning and forgetting (part of ``methods``)
- ``many_teachers``: all participants distilled into one model
- ``table_two``, ``table_two_figure``, ``table_two_files``: Table II of the paper on the page, as a
  picture, in Markdown and LaTeX (part of ``many_teachers``)
- ``federated``: federated averaging and other algorithms (part of ``many_teachers``)
- ``advice``: the decision tree for new pairs
- ``claims``: the paper's claims, judged
- ``pairs``: what to do with each pair, and all about one
- ``comparison``, ``joined_maps``: several campaigns side by side
"""
