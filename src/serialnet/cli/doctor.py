"""``serialnet doctor``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..doctor import Finding, Verdict, examine

__all__ = ["add_arguments"]

DESCRIPTION = """\
Find out what is wrong with a port, and what to do about it.

No line is changed and no byte is sent. A device of this machine is not even opened.
The exit status is 0 if all is well, 1 if something needs doing.
"""
EPILOG = """\
examples:
  serialnet doctor /dev/ttyUSB0
  serialnet doctor rfc2217://lab:4000
  serialnet doctor --json :4000 | jq -r 'select(.verdict == "problem") | .advice'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="the port: a device or a URL")
    parser.add_argument("--json", action="store_true", help="print a JSON object on a line for each finding")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Examine the port, print the findings."""
    findings = await examine(options.url)
    for finding in findings:
        if options.json:
            print(json.dumps({**asdict(finding), "verdict": finding.verdict.value}))
        else:
            _print(finding)
    return int(any(finding.verdict is Verdict.PROBLEM for finding in findings))


def _print(finding: Finding) -> None:
    print(f"{finding.verdict.value:8} {finding.check:13} {finding.text}")
    if finding.advice:
        print(f"{'':8} {'':13} -> {finding.advice}")
