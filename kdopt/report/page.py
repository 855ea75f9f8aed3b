"""One self-contained HTML page of a campaign.

The page makes no request: plotly.js is part of it, and its content security policy forbids
loading anything, so it reads the same offline, from a mail or from an archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdopt.campaign.record import SettingLine
from kdopt.campaign.settings import Campaign
from kdopt.report.tables import points
from kdopt.report.view import View


@cache
def plotly_js() -> str:
    """Plotly's own bundle of cartesian charts.

    A third of the whole plotly.js that the Python package has, so that pages are 3 MB smaller and
    open a second earlier. Its header says which version it is: a test wants that of the installed
    package's plotly.js, to its first number (from npm, ``plotly.js-cartesian-dist-min``).
    """
    bundle = files("kdopt.report") / "vendor" / "plotly-cartesian.min.js"
    return bundle.read_text(encoding="utf-8").strip()


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
        plotly_js=Markup(plotly_js()),  # noqa: S704 - plotly's own source, no input of ours
    )
    return page.rstrip("\n") + "\n"
