"""Compares what one script of calls found on the box and on moto, and holds the result to the list of known differences.

A difference is one of
  outcome  a step ended otherwise: another error code, or an error on one side only
  fact     a step ended well on both sides and its answers say different things about its subject
  member   an answer of one side holds a member that the other side's answer to the same step lacks
"""

import fnmatch
import tomllib

import model


def compare(service, box, moto):
    """All differences between two runs, as dictionaries."""
    found = []
    members = {}
    for step in box.steps:
        ours, theirs = box.steps[step], moto.steps[step]
        if ours.outcome != theirs.outcome:
            found.append({"kind": "outcome", "step": step, "box": ours.outcome, "moto": theirs.outcome})
            continue
        if ours.outcome != "ok":
            continue
        for fact in sorted(ours.facts.keys() | theirs.facts.keys()):
            if ours.facts.get(fact) != theirs.facts.get(fact):
                found.append({"kind": "fact", "step": step, "fact": fact,
                              "box": _plain(ours.facts.get(fact)), "moto": _plain(theirs.facts.get(fact))})
        shape = service.operation_model(box.operations[step]).output_shape
        ours_seen, theirs_seen = {}, {}
        _members(shape, ours.response, ours_seen)
        _members(shape, theirs.response, theirs_seen)
        for name in ours_seen.keys() & theirs_seen.keys():
            for member in ours_seen[name] ^ theirs_seen[name]:
                side = "box" if member in ours_seen[name] else "moto"
                members.setdefault((f"{name}.{member}", side), set()).add(step)
    for (member, side), steps in sorted(members.items()):
        found.append({"kind": "member", "member": member, "only": side, "steps": sorted(steps)})
    return found


def _members(shape, value, seen):
    """Collects, per structure of the model, the members that any of its instances in `value` has."""
    if shape is None:
        return
    if shape.type_name == "structure":
        present = seen.setdefault(shape.name, set())
        for member, below in shape.members.items():
            if member in value:
                present.add(member)
                _members(below, value[member], seen)
    elif shape.type_name == "list":
        for item in value:
            _members(shape.member, item, seen)


def _plain(value):
    """A fact as a text that TOML can hold and a person can read."""
    return value if isinstance(value, (str, int, bool)) else repr(value)


# Keys of an entry that are notes on it: they match nothing.
NOTES = {"why", "source", "says", "unsourced"}


def unexplained(service, found, path):
    """What is wrong with the file at `path`, as sentences: differences that it does not explain, explanations that
    nothing needs, and explanations that no source bears out."""
    with open(path, "rb") as file:
        known = tomllib.load(file)["difference"]
    problems = []
    used = [0] * len(known)
    for entry in known:
        if not entry.get("why", "").strip():
            problems.append(f"no reason is given for {entry}")
        problems += [f"{sentence}: {entry}" for sentence in _unsourced(service, entry)]
    for difference in found:
        matches = [number for number, entry in enumerate(known) if _explains(entry, difference)]
        if not matches:
            problems.append(f"unexpected: {difference}")
        for number in matches:
            used[number] += 1
    problems += [f"no longer there: {entry}" for entry, count in zip(known, used) if count == 0]
    return problems


def _unsourced(service, entry):
    """What is wrong with an entry's source."""
    source = entry.get("source", "").strip()
    if bool(source) == bool(entry.get("unsourced", "").strip()):
        yield "either a source or why there is none"
    if source.startswith("botocore "):
        documentation = model.documentation(service, source.removeprefix("botocore "))
        if documentation is None:
            yield "botocore has nothing of that name"
        elif not entry.get("says") or entry["says"] not in documentation:
            yield f"botocore does not say that, but {documentation!r}"


def _explains(entry, difference):
    """Every key of the entry but its notes must match the difference; texts may hold wildcards."""
    for key, wanted in entry.items():
        if key in NOTES:
            continue
        if key not in difference:
            return False
        value = difference[key]
        if isinstance(wanted, str) and isinstance(value, str):
            # Facts are lists in brackets at times: a bracket is only itself.
            if not fnmatch.fnmatchcase(value, wanted.replace("[", "[[]")):
                return False
        elif wanted != value:
            return False
    return entry.keys() >= {"kind"}


def self_test(service):
    """Shows that the comparison can fail in each of its ways. Returns what it missed."""
    import os
    import tempfile
    entry = '[[difference]]\nkind = "outcome"\nstep = "a*"\nbox = "X"\nmoto = "ok"\nwhy = "w"\nsource = "s"\n'
    one = {"kind": "outcome", "step": "ab", "box": "X", "moto": "ok"}
    vpc = "botocore Vpc.VpcId", "The ID of the VPC."
    wrong = []
    for text, found, expected in [
        (entry, [one], 0),
        (entry.replace('"X"', '"[0, 1]"'), [{**one, "box": "[0, 1]"}], 0),
        (entry, [], 1),
        (entry.replace('"w"', '""'), [one], 1),
        (entry, [one, {**one, "box": "Y"}], 1),
        (entry, [{**one, "step": "b"}], 2),
        (entry, [{"kind": "fact", "step": "ab", "fact": "f", "box": "X", "moto": "ok"}], 2),
        (entry.replace("source", "unsourced"), [one], 0),
        (entry.replace('source = "s"', ""), [one], 1),
        (entry + 'unsourced = "u"', [one], 1),
        (entry.replace('"s"', f'"{vpc[0]}"\nsays = "{vpc[1]}"'), [one], 0),
        (entry.replace('"s"', f'"{vpc[0]}"\nsays = "Something else."'), [one], 1),
        (entry.replace('"s"', f'"{vpc[0]}"'), [one], 1),
        (entry.replace('"s"', f'"botocore Vpc.Colour"\nsays = "{vpc[1]}"'), [one], 1),
    ]:
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
            file.write(text)
        try:
            problems = unexplained(service, found, file.name)
        finally:
            os.unlink(file.name)
        if len(problems) != expected:
            wrong.append(f"{found} against {text!r}: {problems}")
    return wrong
