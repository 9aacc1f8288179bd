"""Panels of other packages, and panels that fail."""

import pytest

from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.report import make_report
from kdescent_dist.report.pages.run_page import RUN_PAGE
from support.pages import Page
from support.run_directories import write_run

PANEL = """
from matplotlib.figure import Figure

from kdescent_dist.report.plots.panel import Panel, Plot

def draw(run):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(run.history.step, run.history.loss)
    yield Plot("their_panel", figure, "The loss as they draw the loss.")

panel = Panel("their_panel", "Their <panel>", "Look for a fall.", draw)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    write_run(directory, {"colors": BinsConfig(columns=["g_r"])}, parameters=2, size=200)
    return directory


@pytest.fixture(scope="module")
def whole(run):
    """The page without panels of other packages."""
    return Page(make_report(run))


def test_another_package_adds_a_panel(run, plugin):
    plugin("kdescent_dist.panels", PANEL, "panel")
    source = Page(make_report(run)).source
    before, section = source.split('<section id="their_panel">')
    assert '<a href="#their_panel">Their &lt;panel&gt;</a>' in before
    assert before.index('id="loss"') < before.index('id="traces"')
    section = section[: section.index("</section>")]
    assert "<h2>Their &lt;panel&gt;</h2>" in section
    assert "<p>Look for a fall.</p>" in section
    assert section.count("<img") == 1
    assert "The loss as they draw the loss." in section
    assert (run / "plots" / "their_panel.png").is_file()


def test_a_panel_that_raises_costs_its_own_section_alone(run, whole, plugin, caplog):
    broken = PANEL.replace("\npanel =", "    raise ValueError('on <purpose>')\n\npanel =")
    plugin("kdescent_dist.panels", broken, "panel")
    page = Page(make_report(run))
    told = "could not be drawn (ValueError: on <purpose>)."
    assert f"Their <panel>: this part {told}" in page.text
    assert f"This part {told}" in page.text
    assert f"this part {told}" in caplog.text
    assert "Traceback" in caplog.text
    # What was drawn before the failure is shown.
    assert len(page.images()) == len(whole.images()) + 1
    assert set(whole.images()) < set(page.images())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise OSError('no such library')", "cannot be loaded: OSError: no such library"),
        (PANEL.replace('Panel("their_panel"', 'Panel("loss"'), "the name 'loss' is taken"),
        ("class panel: name = 'x'", "is no Panel"),
    ],
)
def test_a_panel_that_cannot_be_used_is_told_and_costs_nothing_else(
    run, whole, plugin, caplog, source, reason
):
    plugin("kdescent_dist.panels", source, "panel")
    page = Page(make_report(run))
    assert page.images() == whole.images()
    assert reason in page.text
    assert reason in caplog.text


def test_the_files_of_a_panel_bear_its_name(run, plugin):
    """The next report finds the files by it, to delete them."""
    plugin("kdescent_dist.panels", PANEL.replace('Plot("their_panel"', 'Plot("fit"'), "panel")
    assert "must be 'their_panel', or begin with 'their_panel_'" in Page(make_report(run)).text


def test_every_panel_has_files_of_its_own():
    panels = RUN_PAGE.shipped
    for stem in (stem for panel in panels for stem in panel.stems or (panel.name,)):
        assert sum(panel.owns(stem) for panel in panels) == 1
        assert sum(panel.owns(f"{stem}_2") for panel in panels) == 1
    assert not any(panel.owns(other) for panel in panels for other in ("my_own", "fits"))
