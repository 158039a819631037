"""Pictures of every page: ``python tests/browser/screenshots.py FOLDER [PATH …]``; --help for the rest.

Without a folder: those that the README shows, into docs/images.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import busy_month
from playwright.async_api import Browser, async_playwright
from watching import add_people, paths, watched

from llmhub_core.admin import passwords
from llmhub_core.testing.house import House

ROOT = Path(__file__).parents[2]
SHOWN = (("/", "light"), ("/", "dark"), ("/usage?by=model&from=30d", "light"))
"""What README and documentation show."""
EMPTY = '[[providers]]\nname = "echo"\nkind = "echo"\nmodels = ["small"]\n'


def name_of(path: str) -> str:
    kind, _, id = path.strip("/").partition("/")
    if kind in ("requests", "users") and id:
        return kind.removesuffix("s") if id != "none" else "refused"
    return "".join(letter if letter.isalnum() else "-" for letter in path.strip("/")) or "overview"


async def take(browser: Browser, house: House, folder: Path, state: str, args: argparse.Namespace) -> None:
    for scheme in args.schemes.split(","):
        for width in map(int, args.widths.split(",")):
            context = await browser.new_context(
                viewport={"width": width, "height": 812 if width < 700 else 900},
                color_scheme=scheme,
                timezone_id="Europe/Paris",
                locale="en-GB",
                device_scale_factor=1,
            )
            ann = await watched(context, house.url)
            await ann.sign_in("owner")
            for path in args.paths or await paths(house):
                if args.folder is None and (path, scheme) not in SHOWN:
                    continue
                await ann.go(path)
                await ann.page.wait_for_timeout(120)
                name = f"{name_of(path)}-{state}-{scheme}-{width}"
                if args.folder is None:
                    name = f"{name_of(path).split('-')[0]}-{scheme}"
                file = folder / f"{name}.png"
                await ann.page.screenshot(path=file, full_page=args.folder is not None)
            await context.close()


async def main(args: argparse.Namespace) -> None:
    passwords.COST = 4
    if args.folder is None:
        args.widths, args.states, args.per_day = "1280", "filled", 2500
        args.paths = sorted({path for path, _ in SHOWN})
    folder = Path(args.folder or ROOT / "docs" / "images")
    folder.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ.get("LLMHUB_CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        for state in args.states.split(","):
            filled = busy_month.CONFIG if args.folder is None else busy_month.TROUBLED
            async with House(filled if state == "filled" else EMPTY) as house:
                await add_people(house)
                if state == "filled":
                    await busy_month.fill(house.hub, per_day=args.per_day)
                    if args.folder is not None:
                        await busy_month.trouble(house.hub)
                        await busy_month.stored(house.control)
                await take(browser, house, folder, state, args)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--widths", default="375,768,1280,1920")
    parser.add_argument("--schemes", default="light,dark")
    parser.add_argument("--states", default="empty,filled")
    parser.add_argument("--per-day", type=float, default=400)
    asyncio.run(main(parser.parse_args()))
