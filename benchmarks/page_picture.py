"""Draws the README's picture of the explanation page: `python benchmarks/page_picture.py` makes `.github/backprop.png`.

It shows one step of the README's own example in Chromium (Debian's packages chromium and chromium-driver).
"""

import base64
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver

import tinygrad_med as torch
from tinygrad_med import explain

PICTURE = Path(__file__).parents[1] / ".github" / "backprop.png"
WIDTH, HEIGHT = 1200, 800


def page():
    """The page of the README's example."""
    x = torch.tensor([[1.0, 0.5], [2.0, -1.0]])
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with explain.watch() as trace:
        loss = torch.tanh(x @ w).sum()
        loss.backward()
    return trace.to_html()


def photograph(html, script):
    """The page as a picture, after a script ran in it."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.html"
            file.write_text(html, "utf-8")
            driver.get(file.as_uri())
            driver.execute_async_script(script + "; setTimeout(arguments[0], 500)")
            shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    finally:
        driver.quit()
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


if __name__ == "__main__":
    back_through_tanh = (
        "app.go(app.model.moments.findIndex(m => m.step && app.model.nodes[m.step.node].primitive == 'tanh'))"
    )
    photograph(page(), back_through_tanh).convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(
        PICTURE, optimize=True
    )
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")
