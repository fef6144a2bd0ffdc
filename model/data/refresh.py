#!/usr/bin/env python3
"""Brings EC2's own word into the table of instance types (`instance-types.tsv`, which says what its columns are).

    refresh.py [--check] TABLE INPUT...

INPUT is what `aws ec2 describe-instance-types` prints, or moto's copy of such answers: the wheel, or the file inside it. Lines
of types that an input names are written anew; of two inputs the later one counts. Lines of types that no input names stay, and so does
what EC2 does not tell: branch ENIs. `--check` writes nothing, and fails if anything would be written.
"""

import gzip
import json
import re
import sys
import zipfile
from pathlib import Path

IN_WHEEL = "moto/ec2/resources/instance_types.json.gz"
COLUMNS = 8
NAME = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
# Nobody has told. The last column of a type that is new.
UNKNOWN = "?"
# Names that are printed of each kind.
NAMED = 40


class Refused(Exception):
    """What cannot go into the table as it is."""


def described(path):
    """The types of an input, by name."""
    path = Path(path)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            text = gzip.decompress(wheel.read(IN_WHEEL))
    elif path.suffix == ".gz":
        text = gzip.decompress(path.read_bytes())
    else:
        text = path.read_bytes()
    answer = json.loads(text)
    # EC2's answer, a list of its types, or moto's object with a type under each name.
    if isinstance(answer, dict):
        answer = answer["InstanceTypes"] if "InstanceTypes" in answer else list(answer.values())
    types = {shown["InstanceType"]: shown for shown in answer}
    if not types:
        raise Refused(f"{path} tells of no type")
    return types


def figure(name, value, least=1):
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 65535:
        raise Refused(f"{name}: {value!r} is no figure")
    return value


def hypervisor(name, shown):
    if shown.get("BareMetal"):
        return "metal"
    if shown.get("Hypervisor") not in ("nitro", "xen"):
        raise Refused(f"{name}: hypervisor {shown.get('Hypervisor')!r}")
    return shown["Hypervisor"]


def cards(name, network):
    """ENIs of each card, `e` where EFA can be on it; of cards that are alike one word, as in `32x2e`."""
    shown = sorted(network["NetworkCards"], key=lambda card: card["NetworkCardIndex"])
    if [card["NetworkCardIndex"] for card in shown] != list(range(len(shown))) or not 1 <= len(shown) <= 255:
        raise Refused(f"{name}: its cards are not numbered from 0 to at most 254")
    if network.get("DefaultNetworkCardIndex", 0) != 0:
        raise Refused(f"{name}: its default card is not card 0; the table has no word for that")
    words = [
        str(figure(name, card["MaximumNetworkInterfaces"])) + ("e" if "efa" in card.get("InterfaceTypes", []) else "")
        for card in shown
    ]
    runs = []
    for word in words:
        if runs and runs[-1][1] == word:
            runs[-1][0] += 1
        else:
            runs.append([1, word])
    return ",".join(word if count == 1 else f"{count}x{word}" for count, word in runs)


def line(shown, branches):
    """What the table says of a type."""
    name = shown["InstanceType"]
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} is no instance type's name")
    network = shown["NetworkInfo"]
    # `Ipv4AddressesPerSecondaryInterface` is about interfaces of secondary networks, not about secondary ENIs.
    ipv6 = network["Ipv6AddressesPerInterface"] if network["Ipv6Supported"] else 0
    return "\t".join(
        str(column)
        for column in (
            name,
            figure(name, shown["VCpuInfo"]["DefaultVCpus"]),
            hypervisor(name, shown),
            cards(name, network),
            figure(name, network["Ipv4AddressesPerInterface"]),
            figure(name, ipv6, least=0),
            figure(name, network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0), least=0),
            branches,
        )
    )


def merged(table, inputs):
    """The table with the inputs' word, and the names of types that are new, changed, and in no input."""
    lines = table.splitlines()
    head = [text for text in lines if text.startswith("#")]
    old = {}
    for text in lines:
        if not text.startswith("#"):
            columns = text.split("\t")
            if len(columns) != COLUMNS:
                raise Refused(f"{text!r} has not {COLUMNS} columns")
            old[columns[0]] = text
    told = {}
    for types in inputs:
        told.update(types)
    new = dict(old)
    for name, shown in told.items():
        new[name] = line(shown, old[name].split("\t")[-1] if name in old else UNKNOWN)
    text = "\n".join(head + [new[name] for name in sorted(new)]) + "\n"
    return (
        text,
        sorted(new.keys() - old.keys()),
        sorted(name for name in old if old[name] != new[name]),
        sorted(old.keys() - told.keys()),
    )


def main(arguments):
    check = arguments[:1] == ["--check"]
    table, *inputs = arguments[check:]
    if not inputs:
        raise Refused("no input: what has EC2 told?")
    before = Path(table).read_text(encoding="ascii")
    after, added, changed, untold = merged(before, [described(path) for path in inputs])
    for what, names in (("new", added), ("changed", changed), ("in no input, kept", untold)):
        more = " ..." if len(names) > NAMED else ""
        print(f"{len(names)} {what}{': ' if names else ''}{' '.join(names[:NAMED])}{more}")
    if after == before:
        print(f"{table} is up to date")
    elif check:
        raise Refused(f"{table} is not what its inputs make of it: `./dev limits-table` writes it")
    else:
        Path(table).write_text(after, encoding="ascii")
        print(f"{table} written: look at what changed (`git diff`)")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Refused, OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"limits-table: {error}")
    except (KeyError, TypeError, AttributeError) as error:
        sys.exit(f"limits-table: an input is no answer of EC2's about instance types: {error!r}")
