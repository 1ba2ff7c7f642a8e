"""Uses the console as a person does, and tells what went wrong; ends with 1 if anything did.

    browse.py URL [--token TOKEN] [--reader TOKEN] [--pictures FOLDER] STEP...

Steps are the functions of this file that take a visit alone.
"""

import argparse
import sys
import time
from pathlib import Path

from browser import DESKTOP, PATIENCE_MS, PHONE, Visit, chromium
from playwright.sync_api import expect, sync_playwright

FIRST_PAINT_MS = 300
# What is streamed is there soon, on a machine that does much else.
SOON_S = 120
SQL = "select currency, count(*) as payments from raw.transactions group by currency order by payments desc"


def navigation(visit):
    """The paths of all pages, and of one page below each that has such."""
    page = visit.page()
    visit.go(page, "/")
    paths = [link.get_attribute("href") for link in page.locator("nav a").all()]
    assert len(paths) >= 9, paths
    for path in [path for path in paths if path != "/"]:
        visit.go(page, path)
        below = page.locator(f"main a[href^='{path}/'], main a[href^='{path}?']")
        if below.count():
            paths.append(below.first.get_attribute("href"))
    page.context.close()
    return paths


def pages(visit):
    """Every page opens, says where one is, and is for everybody: light and dark, on a desk and on a phone."""
    paths = navigation(visit)
    for path in paths:
        page = visit.page()
        visit.go(page, path)
        expect(page.locator("nav a[aria-current=page]")).to_have_count(1)
        page.context.close()
        for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
            page = visit.page(bypass_csp=True, color_scheme=scheme, viewport=size)
            visit.go(page, path)
            visit.accessible(page, f"{path} {scheme}")
            page.context.close()


def live(visit):
    """The overview hears from the server without being read again."""
    page = visit.page()
    with page.expect_response(lambda answer: "/console/live" in answer.url) as heard:
        page.goto(visit.url + "/")
    assert heard.value.status == 200, heard.value.status
    page.context.close()


def keyboard(visit):
    """The first key leads past the navigation."""
    page = visit.page()
    visit.go(page, "/console/features")
    page.keyboard.press("Tab")
    expect(page.locator("a.skip:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("main:focus")).to_have_count(1)
    page.context.close()


def french(visit):
    """Who reads French first, reads French."""
    page = visit.page(locale="fr-CA")
    visit.go(page, "/")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.locator("h1")).to_have_text("Vue d’ensemble")
    visit.go(page, "/console/fraud")
    expect(page.locator("main")).to_contain_text("Les alertes les plus récentes")
    page.context.close()


def paint(visit):
    """Something is seen soon: the best of five, since the machine does much else."""
    page = visit.page(bypass_csp=True)
    first = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    times = []
    for _ in range(5):
        visit.go(page, "/")
        times.append(page.wait_for_function(first).json_value())
    print(f"first paint {min(times):.0f} ms at best, {max(times):.0f} ms at worst")
    assert min(times) < FIRST_PAINT_MS, times
    page.context.close()


def desk(visit):
    """An alert comes by itself; its payment says why, and what is said of it stays."""
    page = visit.page()
    visit.go(page, "/console/fraud")
    alert = page.locator("#fraud-alerts tbody th a").first
    alert.wait_for(timeout=SOON_S * 1000)
    visit.go(page, alert.get_attribute("href"))
    expect(page.locator(".reasons li").first).to_be_visible()
    assert page.locator(".history li").count() >= 2, page.locator(".history").inner_text()
    for button, said in (("Confirm fraud", "confirmed as fraud"), ("Clear", "cleared")):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator("#label")).to_contain_text(said)
        expect(page.locator(".notice.good")).to_be_visible()
    page.context.close()


def query(visit):
    """A question has its answer as table, drawing and CSV; what is wrong is said."""
    page = visit.page()
    end = time.monotonic() + SOON_S
    while True:
        visit.go(page, "/console/query")
        page.get_by_label("SQL").fill(SQL)
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#answer, [role=alert]").first).to_be_visible()
        if page.locator("#answer").count():
            break
        assert time.monotonic() < end, page.get_by_role("alert").inner_text()
    expect(page.locator("main figure .bar").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="All rows as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    rows = page.locator("main .scroll tbody tr").count()
    assert lines[0] == "currency,payments" and len(lines) == 1 + rows, lines
    for wrong, said in (("select * from nowhere", "no table"), ("drop table raw.transactions", "")):
        page.get_by_label("SQL").fill(wrong)
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(page.locator("#answer")).to_have_count(0)
    page.context.close()


def features(visit):
    """A feature of payments shows how its values lie."""
    page = visit.page()
    visit.go(page, "/console/features")
    page.get_by_role("link", name="payment_amount", exact=True).click()
    expect(page.locator("figure .bar").first).to_be_visible()
    page.context.close()


def report(visit):
    """The report of a model is shown in its page."""
    page = visit.page()
    visit.go(page, "/console/models")
    # Its frame may run nothing, also nothing of a test.
    with page.expect_response(lambda answer: answer.url.endswith("/report")) as framed:
        page.get_by_role("link", name="report 1").first.click()
    assert framed.value.status == 200 and "<h1>" in framed.value.text(), framed.value.status
    expect(page.locator("iframe.report")).to_be_visible()
    page.context.close()


def models(visit):
    """Two versions that nobody judged: promoted knowingly, one after the other, and back."""
    page = visit.page()
    visit.go(page, "/console/models")

    def row(version):
        return page.locator("tbody tr").filter(has=page.get_by_role("rowheader", name=version, exact=True))

    for version in ("1", "2"):
        row(version).get_by_role("checkbox").check()
        row(version).get_by_role("button", name="Promote").click()
        expect(row(version)).to_contain_text("champion")
        expect(page.locator(".notice.good")).to_be_visible()
    page.get_by_role("button", name="Roll back").click()
    expect(row("1")).to_contain_text("champion")
    expect(row("2")).to_contain_text("previous")
    page.context.close()


def letters(visit):
    """What was refused is seen with its bytes and sent again."""
    page = visit.page()
    end = time.monotonic() + SOON_S
    link = page.locator("main tbody th a").first
    while True:
        visit.go(page, "/console/dead-letters")
        if link.count():
            break
        assert time.monotonic() < end, "no dead letter"
        # There is no sign of a letter to wait for but the page itself.
        page.wait_for_timeout(200)
    visit.go(page, link.get_attribute("href"))
    expect(page.locator("main")).to_contain_text("no such format")
    page.get_by_role("button", name="Send it again").click()
    expect(page.locator(".notice.good")).to_be_visible()
    page.context.close()


def batch(visit):
    """A run that is asked for is there."""
    page = visit.page()
    visit.go(page, "/console/batch")
    page.get_by_role("button", name="Run the last interval now").first.click()
    expect(page.locator(".notice")).to_be_visible()
    expect(page.locator(".notice.bad")).to_have_count(0)
    page.context.close()


def rights(visit, reader):
    """Who may only read is offered nothing else, and gets nothing else; nor does who comes from elsewhere."""
    target = visit.url + "/console/models/fraud/rollback"
    stranger = visit.browser.new_context()
    answer = stranger.request.get(visit.url + "/console/query", max_redirects=0)
    assert answer.status in (303, 401), answer.status
    stranger.close()
    # The session without its secret: as a form of another site would send it.
    admin = visit.context()
    assert admin.request.post(target, form={"model": "fraud"}, max_redirects=0).status == 403
    admin.close()
    visit.session = visit.sign_in(reader)
    # Not watched: a browser takes it for an error that who has signed out is not let in.
    page = visit.context().new_page()
    visit.go(page, "/console/models")
    assert page.locator("main form[method=post] button").count() == 0
    secret = page.locator("input[name=csrf]").first.get_attribute("value")
    assert page.context.request.post(target, form={"csrf": secret}, max_redirects=0).status == 403
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.context.close()


def pictures(visit, folder):
    """Pictures for the documentation."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = visit.page(color_scheme="light")
    for name in ("overview", "pipelines", "batch", "features", "models", "fraud", "query"):
        visit.go(page, "/" if name == "overview" else f"/console/{name}")
        if name == "query":
            page.get_by_label("SQL").fill(SQL)
            page.get_by_role("button", name="Run").click()
            expect(page.locator("#answer")).to_be_visible()
        page.screenshot(path=folder / f"console-{name}.png")
    page.context.close()


STEPS = (pages, live, keyboard, french, paint, desk, query, features, report, models, letters, batch)
STEPS = {step.__name__: step for step in STEPS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--token")
    parser.add_argument("--reader", help="a token that may only read: then also what it may not is tried")
    parser.add_argument("--pictures", metavar="FOLDER")
    parser.add_argument("steps", nargs="*", metavar="STEP")
    asked = parser.parse_intermixed_args()
    if unknown := set(asked.steps) - set(STEPS):
        parser.error(f"there is no step {', '.join(unknown)}: take {', '.join(STEPS)}")
    if chromium() is None:
        sys.exit("there is no Chromium")
    with sync_playwright() as playwright:
        visit = Visit(playwright, asked.url, asked.token)
        for name in asked.steps:
            began = time.monotonic()
            try:
                STEPS[name](visit)
            except Exception as error:  # Whatever it is, it goes on with the next step, and ends with 1.
                visit.problems.append(f"{name}: {error}")
            print(f"{name}: {time.monotonic() - began:.1f} s")
        if asked.reader:
            rights(visit, asked.reader)
        if asked.pictures:
            pictures(visit, asked.pictures)
        visit.close()
    for problem in visit.problems:
        print(problem)
    sys.exit(1 if visit.problems else 0)


if __name__ == "__main__":
    main()
