"""``make bench`` and ``make bench-quick``: run the stages one after the other, and write the page of their figures."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import click

from benchmarks import results_page
from benchmarks.measure import QUICK_DIR

STAGES = ("intake", "landing", "answers", "whole_day", "growth", "airflow_share", "cold_setup")
QUICK_STAGES = ("intake", "landing", "answers", "whole_day")
"""Stages whose quick runs take five minutes together; the others start whole stacks or run days of several sizes."""


def main() -> int:
    """Run the stages; a failed stage does not stop the others, and is reported at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"stages to run: {', '.join(STAGES)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: only check that everything works"
    )
    parser.add_argument("--only-page", action="store_true", help="write the page from the stored figures")
    args = parser.parse_args()
    if unknown := [one for one in args.stages if one not in STAGES]:
        parser.error(f"no such stage: {', '.join(unknown)}")
    failed = []
    for stage in () if args.only_page else args.stages or (QUICK_STAGES if args.quick else STAGES):
        began = time.monotonic()
        click.echo(f"== {stage}")
        command = [sys.executable, "-m", f"benchmarks.{stage}", *(["--quick"] if args.quick else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(stage)
        click.echo(f"== {stage}: {time.monotonic() - began:.0f} s")
    if args.quick:
        results_page.write(QUICK_DIR, QUICK_DIR / "RESULTS.md")
    else:
        results_page.write(words=results_page.WORDS.read_text(encoding="utf-8"))
    if failed:
        click.echo(f"bench: failed, see above: {', '.join(failed)}", err=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
