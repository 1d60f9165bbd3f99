"""Looks at the built pages in a real browser, where there is one: Chromium, without a window.

Each page is shown 400 and 1,400 pixels wide, light and dark. Nothing may be wider than the window
or be cut off (code may scroll in a box of its own, and tables where the window is narrow), every
picture has to be there and told in words, and the ground has to be as light or as dark as was asked
for. Run: `make look`.
"""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from html import unescape
from pathlib import Path

BUILT = Path(__file__).resolve().parent.parent / "docs" / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (400, 1400)
PATIENCE = 120.0

# Each page in a frame of the wanted width, one after the other; what is wrong goes into the title's
# place, from which the browser prints it.
_SCRIPT = """<!doctype html><pre id="told"></pre><script>
const pages = %s, widths = %s, told = [];
const light = (page) => {
  const ground = getComputedStyle(page.body).backgroundColor.match(/\\d+/g).map(Number);
  return ground[0] + ground[1] + ground[2] > 382;
};
const scrolls = (box) => /auto|scroll/.test(getComputedStyle(box).overflowX);
function wide(page, width) {
  const article = page.querySelector("article");
  return [...article.querySelectorAll("*")].find((one) => {
    if (one.getBoundingClientRect().right <= width + 1) return false;
    for (let box = one; box !== article; box = box.parentElement) if (scrolls(box)) return false;
    return true;
  });
}
async function look(path, width, theme) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  const loaded = new Promise((done) => { frame.onload = done; });
  frame.src = path;
  document.body.append(frame);
  await loaded;
  const page = frame.contentDocument, where = `${path}, ${width} px, ${theme}`;
  page.body.dataset.theme = theme;
  const out = wide(page, width);
  if (out || page.documentElement.scrollWidth > width)
    told.push(`${where}: wider than the window: ${(out || page.body).outerHTML.slice(0, 100)}`);
  for (const box of width > 1000 ? page.querySelectorAll(".table-wrapper") : [])
    if (box.scrollWidth > box.clientWidth + 1)
      told.push(`${where}: a table is cut off: ${box.textContent.trim().slice(0, 60)}`);
  if (light(page) !== (theme === "light")) told.push(`${where}: the ground is not ${theme}`);
  for (const image of page.querySelectorAll("img")) {
    if (!image.naturalWidth) told.push(`${where}: ${image.src} is not there`);
    if (image.alt.length < 20) told.push(`${where}: ${image.src} is not told in words`);
  }
  frame.remove();
}
(async () => {
  for (const path of pages) for (const width of widths) for (const theme of ["light", "dark"])
    await look(path, width, theme);
  document.getElementById("told").textContent = JSON.stringify(told);
})();
</script>
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


def looked(browser: str, pages: list[str]) -> list[str]:
    """What is wrong with `pages`."""
    seat = BUILT / "_look.html"
    seat.write_text(_SCRIPT % (json.dumps(pages), json.dumps(WIDTHS)), encoding="utf-8")
    handler = functools.partial(_Quiet, directory=str(BUILT))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory() as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            shown = subprocess.run(
                [
                    browser,
                    *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                    *("--virtual-time-budget=100000000", f"--user-data-dir={profile}"),
                    f"http://127.0.0.1:{server.server_address[1]}/{seat.name}",
                ],
                check=True,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            ).stdout
        finally:
            server.shutdown()
            seat.unlink()
    told = shown.partition('<pre id="told">')[2].partition("</pre>")[0]
    if not told:
        return ["the browser did not get to the end of the pages"]
    found: list[str] = json.loads(unescape(told))
    return found


def main() -> int:
    """Say what is wrong, or that nobody has looked."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        print("look: no browser is there, so nobody has looked")
        return 0
    pages = sorted(str(page.relative_to(BUILT)) for page in BUILT.rglob("*.html"))
    if not pages:
        print("look: no page is built; run `make docs` first")
        return 1
    wrong = looked(browser, pages)
    print(*wrong or [f"look: {len(pages)} pages are as they should be"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
