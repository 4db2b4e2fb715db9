"""The console in a real browser. Arguments: the address of HTTP, and the file that the running engine follows.

Run by `cargo test` where Python has selenium and the machine Chromium and its driver, over `binary::STEADY`. Leaves
pictures in $THALWEG_SCREENSHOTS, if that names a folder.
"""

import os
import pathlib
import shutil
import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

address, followed = sys.argv[1:]

options = webdriver.ChromeOptions()
# Chromium's sandbox does not run as root, and /dev/shm is small in containers.
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1360,900"):
    options.add_argument(argument)
options.binary_location = shutil.which("chromium")
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
service = webdriver.ChromeService(shutil.which("chromedriver"))
browser = webdriver.Chrome(options=options, service=service)


def rows(place):
    """The texts of a table's cells; none if it is redrawn meanwhile."""
    script = "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(r => [...r.children].map(d => d.textContent))"
    return browser.execute_script(script, place)


def until(found, expected):
    last = None

    def same(_):
        nonlocal last
        last = found()
        return last == expected

    try:
        WebDriverWait(browser, 60, poll_frequency=0.1).until(same)
    except Exception as error:
        raise AssertionError(f"{last!r} instead of {expected!r}") from error


def picture(name):
    if folder := os.environ.get("THALWEG_SCREENSHOTS"):
        browser.save_screenshot(str(pathlib.Path(folder) / f"{name}.png"))


def append(line):
    with open(followed, "a") as file:
        file.write(line + "\n")


def names(place):
    return [row[0] for row in rows(place)]


try:
    browser.get(f"http://{address}/")
    assert browser.title == "Thalweg"

    # The overview: sources, views, no dead letters yet; then one, with its reason.
    until(lambda: names("#sources"), ["orders"])
    until(lambda: sorted(names("#materialized")), ["per_item", "sold"])
    assert "every record became a row" in browser.find_element(By.ID, "dead").text
    append("not an order")
    until(lambda: [row[-1] for row in rows("#dead")], ["not an order"])
    until(lambda: "1" in rows("#sources")[0], True)
    picture("overview")

    # A view, live: rows change where they stand, and new ones come.
    browser.find_element(By.XPATH, "//nav//button[span='per_item']").click()
    until(lambda: rows("#result"), [["cake", "1", "7.5"], ["tea", "3", "10"]])
    append('{"ts":"2026-01-01T00:00:05","item":"tea","price":0.5,"n":1}')
    until(lambda: rows("#result"), [["cake", "1", "7.5"], ["tea", "4", "10.5"]])
    append('{"ts":"2026-01-01T00:00:06","item":"bun","price":1.25,"n":1}')
    until(lambda: rows("#result"), [["bun", "1", "1.25"], ["cake", "1", "7.5"], ["tea", "4", "10.5"]])
    picture("view")
    assert browser.find_element(By.ID, "stop").is_displayed()

    # The SQL box: an answer, and a mistake with its hint.
    box = browser.find_element(By.ID, "query")
    box.clear()
    box.send_keys("SELECT sum(orders) AS n FROM per_item", Keys.CONTROL, Keys.ENTER)
    until(lambda: rows("#result"), [["6"]])
    box.clear()
    box.send_keys("SELECT itm FROM per_item", Keys.CONTROL, Keys.ENTER)
    until(lambda: browser.find_element(By.ID, "result").text.split("\n")[-1], 'Hint: Did you mean "item"?')
    picture("mistake")

    # The one mistake that was made is the one complaint.
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert all("400 (Bad Request)" in entry["message"] for entry in complaints) and len(complaints) == 1, complaints
finally:
    browser.quit()

print("ok")
