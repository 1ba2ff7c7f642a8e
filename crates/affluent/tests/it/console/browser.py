"""A headless Chromium on the console. Whatever goes wrong on any page it opens is kept: errors of its console, requests that fail or
leave the server, violations that axe-core finds."""

import shutil
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

# Two cores are shared with the whole platform.
PATIENCE_MS = 30_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
# axe does not reach into a frame that may run nothing.
AXE = {"resultTypes": ["violations"], "iframes": False}
GRAVE = ("serious", "critical")

expect.set_options(timeout=PATIENCE_MS)


def chromium():
    """The browser of the system; none where there is none."""
    return next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)


def is_error(said):
    """An error of the page: the frame of a report may run nothing, and the driver's own script is none of the page's."""
    return said.type == "error" and not said.text.startswith("Blocked script execution")


class Visit:
    """Somebody in front of the console at `url`, signed in by `token` where there are tokens."""

    def __init__(self, playwright, url, token=None):
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
        self.browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        self.url, self.problems, self.session = url.rstrip("/"), [], None
        if token:
            self.session = self.sign_in(token)

    def context(self, **options):
        options = {"viewport": DESKTOP, "locale": "en-GB", "storage_state": self.session, **options}
        context = self.browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        return context

    def page(self, **options):
        """A new page of a new context, watched."""
        page = self.context(**options).new_page()
        told = lambda what: self.problems.append(f"{page.url}: {what}")
        page.on("console", lambda said: told(f"console: {said.text}") if is_error(said) else None)
        page.on("pageerror", lambda error: told(f"error: {error}"))
        page.on("request", lambda request: self.within(page, request.url))
        page.on("requestfailed", lambda request: self.failed(page, request))
        return page

    def within(self, page, url):
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.problems.append(f"{page.url}: asks {url}")

    def failed(self, page, request):
        # A stream ends with its page, a download leaves it.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"{page.url}: {request.url}: {request.failure}")

    def go(self, page, path):
        """Opens a page of the console; it has a title and a heading."""
        answer = page.goto(self.url + path, wait_until="load")
        if answer.status != 200:
            self.problems.append(f"{path}: {answer.status}")
        expect(page.locator("h1")).to_be_visible()
        expect(page).to_have_title(page.locator("h1").inner_text() + " · Affluent")

    def sign_in(self, token):
        """Signs in, by a wrong token first; cookies of the session."""
        context = self.browser.new_context(locale="en-GB")
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(self.url + "/console/query")
        for given in ("nobody-nobody-nobody", token):
            page.get_by_label("Token").fill(given)
            page.get_by_role("button", name="Sign in").click()
            if given != token:
                expect(page.get_by_role("alert")).to_contain_text("not known")
        # Back where the way had led.
        expect(page.locator("h1")).to_have_text("Query")
        for cookie in context.cookies():
            if not cookie["httpOnly"] or cookie["sameSite"] != "Strict":
                self.problems.append(f"cookie {cookie['name']} is seen by scripts or sent by other sites")
        session = context.storage_state()
        context.close()
        return session

    def accessible(self, page, what):
        """No serious violation by axe-core, nothing wider than the screen. The page's context has to pass by its policy."""
        for violation in Axe().run(page, options=AXE).response["violations"]:
            if violation["impact"] in GRAVE:
                nodes = "; ".join(node["html"][:200] for node in violation["nodes"][:3])
                self.problems.append(f"{what}: {violation['impact']} {violation['id']}: {nodes}")
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            self.problems.append(f"{what}: wider than the screen")

    def close(self):
        self.browser.close()
