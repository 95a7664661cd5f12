"""Reads the status page in Chromium: `status_page.py CASE ADMIN_PORT PROXY_PORT PROCESS`. Fails where it does not show
what it has to."""

import http.client
import os
import shutil
import signal
import sys
import tempfile
import time

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import site_here

PATIENCE = 60  # Seconds. Generous: other tests run beside it.
# So many requests that pass over one of two backends are no chance.
CHOICES = 40
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Page:
    """The page as it is shown."""

    def __init__(self, folder: str, admin: str, proxy: str, process: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for argument in (*ARGUMENTS, f"--user-data-dir={folder}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
        self.proxy = int(proxy)
        self.process = int(process)
        self.driver.get(f"http://127.0.0.1:{admin}/")

    def text(self, name: str) -> str:
        return self.driver.find_element(By.ID, name).text

    def text_of(self, selector: str) -> str:
        """What it says, for ears too."""
        return self.driver.find_element(By.CSS_SELECTOR, selector).get_attribute("textContent")

    def rows(self, table: str = "routes") -> list[list[str]]:
        """What the cells of the table's body say, row by row."""
        rows = "[...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        cells = "row => [...row.cells].map(cell => cell.textContent)"
        return self.driver.execute_script(f"return {rows}.map({cells})", table)

    def states(self) -> list[str]:
        """The state of each backend, without its sign."""
        return [cell.split(" ")[1] for row in self.rows() for cell in row if cell[:2] in ("● ", "✕ ", "○ ")]

    def until(self, what: str, check) -> None:
        try:
            WebDriverWait(self.driver, PATIENCE, poll_frequency=0.02).until(lambda _: check())
        except TimeoutException:
            shown = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"not within {PATIENCE} s: {what}; the page says {shown!r}") from None

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, name: str) -> None:
        self.driver.find_element(By.ID, name).click()

    def ask(self, target: str) -> str:
        """What the proxy's site answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy, timeout=PATIENCE)
        connection.request("GET", target, headers={"Host": site_here.SITE})
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    def has_no_errors(self) -> None:
        entries = self.driver.get_log("browser")
        assert not [entry for entry in entries if entry["level"] in ("SEVERE", "WARNING")], entries


def program(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is not installed; `just test` installs it, as does `.ci/packages {name}`"
    return path


def death(page: Page) -> None:
    """A backend that has died is shown dead, with the reason and until when; first, and by backend too."""
    page.until("both are alive", lambda: page.states() == ["alive", "alive"])
    begun = time.monotonic()
    assert [page.ask("/die/b") for _ in range(CHOICES)] == ["a"] * CHOICES
    page.until("one is dead", lambda: sorted(page.states()) == ["alive", "dead"])
    print(f"shown {time.monotonic() - begun:.2f} s after the first request that could find it dead")
    ill = next(row for row in page.rows() if any("dead" in cell for cell in row))
    assert "before its answer" in ill[-2] and ill[-1][0].isdigit(), ill
    assert "1 with a dead backend" in page.text("matching")
    assert "Dead backends: http://" in page.text_of("#told")
    page.click("by-backend")
    page.until("the dead backend is first", lambda: page.states() == ["dead", "alive"])
    plot = page.driver.find_element(By.CSS_SELECTOR, "#rate svg")
    page.until("requests are drawn", lambda: "not known" not in plot.get_attribute("aria-label"))
    assert len(page.rows("cores")) == 2 and page.rows("limits") == [["Nothing is limited."]]
    page.has_no_errors()


def search(page: Page) -> None:
    """The search narrows, by keyboard alone; what names say is text."""
    page.until("all are shown", lambda: len(page.rows()) == 3)
    page.press("/")
    assert page.driver.switch_to.active_element.get_attribute("id") == "search"
    page.press("tWo/")
    page.until("none matches", lambda: page.rows() == [["None matches."]])
    page.press(Keys.BACKSPACE)
    page.until("one is left", lambda: [row[0][:11] for row in page.rows()] == ["two.example"])
    page.press(Keys.ESCAPE)
    page.until("all are back", lambda: len(page.rows()) == 3)
    page.press("script")
    page.until("the hostile one is left", lambda: len(page.rows()) == 1)
    hostile = "<script>document.title='bad'</script><img src=x onerror=document.title='bad'>"
    assert page.rows()[0][0] == f"one.example{hostile}", page.rows()
    assert page.driver.title == "cjs-proxy"
    assert not page.driver.find_elements(By.CSS_SELECTOR, "main script, main img")
    reached = []
    while "dead-first" not in reached and len(reached) < 9:
        page.press(Keys.TAB)
        reached.append(page.driver.switch_to.active_element.get_attribute("id"))
    assert reached == ["by-frontend", "by-backend", "state", "dead-first"], reached
    page.has_no_errors()


def token(page: Page) -> None:
    """The token is asked for once, again where it is wrong, and kept in the tab."""
    dialog = page.driver.find_element(By.ID, "token-dialog")
    page.until("it asks", dialog.is_displayed)
    page.press("wr ng", Keys.ENTER)
    page.until("it says what a token is", lambda: "without spaces" in page.text("token-why"))
    page.press("wrong", Keys.ENTER)
    page.until("it asks again", lambda: dialog.is_displayed() and "refused" in page.text("token-why"))
    page.press("s3cret", Keys.ENTER)
    page.until("routes are shown", lambda: page.states() == ["alive", "alive"])
    page.driver.refresh()
    page.until("they are shown at once", lambda: page.states() == ["alive", "alive"])
    assert not page.driver.find_element(By.ID, "token-dialog").is_displayed()


def outage(page: Page) -> None:
    """Why the store is away is shown, and that the proxy has gone."""
    away = lambda row: row[5].startswith("away: ") and "refused" in row[5]
    page.until("both cores say why", lambda: [away(row) for row in page.rows("cores")] == [True, True])
    assert "not ready" in page.text("facts"), page.text("facts")
    os.kill(page.process, signal.SIGTERM)
    said = "The proxy does not answer. What is shown is "
    page.until("it says so", lambda: page.text("trouble").startswith(said))
    assert page.text("facts").startswith("no answer"), page.text("facts")
    page.until("it says that it tries less often", lambda: "Next try in 4 s." in page.text("trouble"))


if __name__ == "__main__":
    case, *places = sys.argv[1:]
    cases = {each.__name__: each for each in (death, search, token, outage)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Page(folder, *places)
        try:
            cases[case](page)
        finally:
            page.driver.quit()
