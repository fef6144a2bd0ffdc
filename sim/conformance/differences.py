"""Compares what one script of calls found on the box and on moto, and holds the result to the list of known differences.

A difference is one of
  outcome  a step ended otherwise: another error code, or an error on one side only
  fact     a step ended well on both sides and its answers say different things about its subject
  member   an answer of one side holds a member that the other side's answer to the same step lacks
"""

import fnmatch
import tomllib


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


def unexplained(found, path):
    """Differences that the file at `path` does not explain, and explanations in it that nothing needs, as sentences."""
    with open(path, "rb") as file:
        known = tomllib.load(file)["difference"]
    problems = []
    used = [0] * len(known)
    for entry in known:
        if not entry.get("why", "").strip():
            problems.append(f"no reason is given for {entry}")
    for difference in found:
        matches = [number for number, entry in enumerate(known) if _explains(entry, difference)]
        if not matches:
            problems.append(f"unexpected: {difference}")
        for number in matches:
            used[number] += 1
    problems += [f"no longer there: {entry}" for entry, count in zip(known, used) if count == 0]
    return problems


def _explains(entry, difference):
    """Every key of the entry but its reason must match the difference; texts may hold wildcards."""
    for key, wanted in entry.items():
        if key == "why":
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


def self_test():
    """Shows that the comparison can fail in each of its ways. Returns what it missed."""
    import os
    import tempfile
    entry = '[[difference]]\nkind = "outcome"\nstep = "a*"\nbox = "X"\nmoto = "ok"\nwhy = "{}"\n'
    one = {"kind": "outcome", "step": "ab", "box": "X", "moto": "ok"}
    wrong = []
    for text, found, expected in [
        (entry.format("w"), [one], 0),
        (entry.format("w").replace('"X"', '"[0, 1]"'), [{**one, "box": "[0, 1]"}], 0),
        (entry.format("w"), [], 1),
        (entry.format(""), [one], 1),
        (entry.format("w"), [one, {**one, "box": "Y"}], 1),
        (entry.format("w"), [{**one, "step": "b"}], 2),
        (entry.format("w"), [{"kind": "fact", "step": "ab", "fact": "f", "box": "X", "moto": "ok"}], 2),
    ]:
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
            file.write(text)
        try:
            problems = unexplained(found, file.name)
        finally:
            os.unlink(file.name)
        if len(problems) != expected:
            wrong.append(f"{found} against {text!r}: {problems}")
    return wrong
