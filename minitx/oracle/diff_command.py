"""``minitx diff``: a port's numbers against a golden bundle, from the command line."""

from __future__ import annotations

import argparse
import json
import sys

from .bundle import Bundle
from .diagnose import investigate
from .diff import compare
from .port import read_arrays, read_table
from .verdict import text, to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill in the parser of ``minitx diff``."""
    parser.description = (
        "Find the first tensor in which a port departs from a golden bundle, tell whether its op "
        "or its input is wrong, and name the mistake. The exit code is 0 if all agrees, 1 if not, "
        "2 if something given cannot be used."
    )
    parser.add_argument("golden", help="the bundle's path, without a suffix")
    parser.add_argument("mine", help="the port's arrays, .npz or .safetensors")
    parser.add_argument(
        "--rename", metavar="JSON", help='table {"the port\'s name": "ours"}; * fits anything'
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="allowed relative to each tensor's largest number, instead of the bundle's own",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, diagnose, report; the exit code."""
    try:
        if options.tolerance is not None and not options.tolerance >= 0:
            raise ValueError(f"--tolerance is {options.tolerance}; expected 0 or more")
        bundle = Bundle.read(options.golden)
        table = read_table(options.rename) if options.rename else None
        diff = compare(bundle, read_arrays(options.mine), table, options.tolerance)
        findings = list(investigate(diff))
    except (ValueError, OSError) as error:
        print(f"minitx diff: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(to_json(diff, findings), indent=1))
    else:
        print(text(diff, findings))
    return 0 if diff.clean else 1
