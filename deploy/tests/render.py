"""Renders the chart with the Helm that HELM names, and reads what comes out."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart/holdfast"
VALUES = ROOT / "deploy/tests/values"
RELEASE, NAMESPACE = "aws-node", "kube-system"


def helm(*arguments):
    """Runs Helm with no settings of the user's; returns exit code, output and errors."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(
            [os.environ["HELM"], *map(str, arguments)], capture_output=True, text=True, timeout=180, env=environment
        )
    return done.returncode, done.stdout, done.stderr


def template(*arguments, chart=CHART):
    """The text that Helm makes of the chart, or an error with what it said."""
    code, out, err = helm("template", RELEASE, chart, "--namespace", NAMESPACE, *arguments)
    if code != 0:
        raise RuntimeError(err.strip())
    return out


def objects(text):
    """All objects, each complete enough that the API server knows what it is."""
    found = [each for each in yaml.load_all(text, Loader=StrictLoader) if each is not None]
    for each in found:
        assert each.get("apiVersion") and each.get("kind") and each["metadata"].get("name"), each
    return found


def one(found, kind, name=None):
    """The only object of a kind, or of that name."""
    hits = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(hits) == 1, f"{len(hits)} objects {kind} {name or ''}"
    return hits[0]


def notes(*arguments):
    """What Helm says after an install: rendered as an object of a copy of the chart, since Helm shows it for a cluster only."""
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place) / "holdfast"
        shutil.copytree(CHART, copy)
        show = (
            'apiVersion: v1\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "holdfast.notes" . | toJson }}\n'
        )
        (copy / "templates/notes.yaml").write_text(show)
        return one(objects(template(*arguments, chart=copy)), "Notes")["text"]


class StrictLoader(yaml.SafeLoader):
    """A key that is there twice is a mistake: YAML readers disagree on which counts."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice among {keys}"
        return super().construct_mapping(node, deep)
