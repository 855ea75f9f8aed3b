"""One self-contained HTML page of a campaign.

The page makes no request: plotly.js is part of it, and its content security policy forbids
loading anything, so it reads the same offline, from a mail or from an archive.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kdopt.plan import Campaign, SettingLine
from kdopt.report.tables import points
from kdopt.report.view import View


def render_page(campaign: Campaign, view: View, settings_lines: Sequence[SettingLine]) -> str:
    """The HTML page; everything that comes from a spec or a trial is escaped.

    Args:
        campaign: What was run.
        view: What is shown of it.
        settings_lines: Its resolved settings with the source of each, shown as they are.
    """
    environment = Environment(
        loader=PackageLoader("kdopt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # NaN is not JSON: it must fail here, not in the reader's browser.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    page = environment.get_template("page.html.j2").render(
        campaign=campaign,
        view=view,
        settings_lines=settings_lines,
        points=points,
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own source, no input of ours
    )
    return page.rstrip("\n") + "\n"
