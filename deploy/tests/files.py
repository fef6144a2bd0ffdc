"""Checks what is written by hand beside the chart: IAM policies, the Terraform module, definitions of custom resources."""

import json
import re
import sys

import hcl2
import yaml

from render import CHART, ROOT

IAM, TERRAFORM = ROOT / "deploy/iam", ROOT / "deploy/terraform"
POLICIES = ["base-ipv4.json", "ipv6.json", "tags.json"]
# Not of the daemon's role.
HELPER = "metrics-helper.json"
# In the place of both, where each call is to be bound to the cluster.
SCOPED = "scoped-ipv4.json"
CLUSTERS_TAG = "cluster.k8s.amazonaws.com/name"


def statements(name):
    return json.loads((IAM / name).read_text())["Statement"]


def actions(name):
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        listed = statement["Action"]
        yield from [listed] if isinstance(listed, str) else listed


def test_policies_allow_what_the_daemon_calls_and_no_more():
    """The calls are read from the one room that makes any."""
    source = "".join(path.read_text() for path in sorted((ROOT / "aws/src/ec2").glob("*.rs")))
    verbs = "describe|create|attach|detach|delete|modify|assign|unassign|associate|disassociate|reset|replace"
    things = "network_interface|network_interfaces|private_ip_addresses|ipv6_addresses|instances|instance_types|subnets|tags|vpcs|security_groups"
    calls = set(re.findall(rf"\.((?:{verbs})_(?:{things})(?:_attribute)?)\(\)", source))
    called = {"ec2:" + "".join(part.capitalize() for part in call.split("_")) for call in calls}
    assert len(called) >= 10, called
    # Tags go with a creation, which EC2 judges as if it were a call of its own.
    assert "TagSpecification" in source
    called.add("ec2:CreateTags")
    allowed = [action for name in POLICIES for action in actions(name)]
    # Tags are given at a creation, and to what is there by their names.
    allowed.remove("ec2:CreateTags")
    assert sorted(allowed) == sorted(set(allowed)), "an action is there twice"
    # The name of the cluster, for the metrics helper alone.
    assert "ec2:DescribeTags" in called
    called.remove("ec2:DescribeTags")
    assert set(allowed) == called, set(allowed) ^ called


def test_the_scoped_policy_allows_the_same_and_binds_each_change_to_the_cluster():
    of_ipv4 = [name for name in POLICIES if name != "ipv6.json"]
    assert set(actions(SCOPED)) == {action for name in of_ipv4 for action in actions(name)}
    for statement in statements(SCOPED):
        resources, condition = statement["Resource"], json.dumps(statement.get("Condition", {}))
        if resources == "*":
            assert all(action.startswith("ec2:Describe") for action in statement["Action"])
        elif "network-interface/*" in json.dumps(resources):
            assert f"/{CLUSTERS_TAG}\": \"CLUSTER\"" in condition, statement["Sid"]
        elif "security-group/*" not in json.dumps(resources) or "ec2:CreateNetworkInterface" in statement["Action"]:
            assert condition != "{}", statement["Sid"]


def test_the_tags_that_policies_name_are_those_that_the_daemon_sets():
    source = (ROOT / "model/src/cloud.rs").read_text() + (ROOT / "planner/src/seen/tags.rs").read_text()
    for name in ["tags.json", SCOPED]:
        [keys] = [
            statement["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"]
            for statement in statements(name)
            if "ForAllValues:StringEquals" in statement.get("Condition", {})
        ]
        assert all(f'"{key}"' in source for key in keys), keys


def test_the_metrics_helper_may_publish_and_read_tags_and_no_more():
    source = (ROOT / "aws/src/cloudwatch.rs").read_text()
    calls = set(re.findall(r"\.((?:put|get|list|delete|describe)_[a-z_]+)\(\)", source))
    assert calls == {"put_metric_data"}, calls
    assert list(actions(HELPER)) == ["cloudwatch:PutMetricData", "ec2:DescribeTags"]
    # As the room that publishes has it.
    condition = statements(HELPER)[0]["Condition"]["StringEquals"]
    namespace = re.search(r'const NAMESPACE: &str = "([^"]+)"', (ROOT / "metrics-helper/src/publish.rs").read_text())[1]
    assert condition == {"cloudwatch:namespace": namespace}


def test_no_policy_has_a_wildcard_action():
    for path in IAM.glob("*.json"):
        for action in actions(path.name):
            assert "*" not in action, path
        assert (
            json.dumps(json.loads(path.read_text()), indent=2) + "\n" == path.read_text()
        ), f"{path} is not as json.dumps writes it"


def test_each_action_has_its_reason():
    readme = (IAM / "README.md").read_text()
    for name in [*POLICIES, SCOPED, HELPER]:
        assert f"`{name}`" in readme
        for action in actions(name):
            assert action.removeprefix("ec2:") in readme, action


def test_the_module_is_well_formed_and_has_the_same_policies():
    blocks = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        with path.open() as file:
            for kind, found in hcl2.load(file).items():
                blocks.setdefault(kind, []).extend(found)
    text = "".join(path.read_text() for path in sorted(TERRAFORM.glob("*.tf")))
    declared = {strip(name) for each in blocks["variable"] for name in each if strip(name) != "__is_block__"}
    used = set(re.findall(r"\bvar\.([a-z_]+)", text))
    assert used == declared, used ^ declared
    assert all(f'"{name.removesuffix(".json")}"' in text for name in POLICIES)
    # Both trust policies, here and as files, speak of the same conditions.
    for name in ("trust-irsa.json", "trust-pod-identity.json"):
        for statement in statements(name):
            for key in statement["Condition"]["StringEquals"]:
                assert key.removeprefix("OIDC_PROVIDER") in text, key


def strip(name):
    return name.strip('"')


def test_definitions_are_of_the_names_that_others_use():
    found = {}
    for path in (CHART / "crds").glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())
        versions = spec["spec"]["versions"]
        assert [(version["name"], version["served"], version["storage"]) for version in versions] == [
            ("v1alpha1", True, True)
        ]
        found[spec["metadata"]["name"]] = (spec["spec"]["names"]["kind"], spec["spec"]["scope"])
    assert found == {
        "eniconfigs.crd.k8s.amazonaws.com": ("ENIConfig", "Cluster"),
        "cninodes.vpcresources.k8s.aws": ("CNINode", "Cluster"),
    }


def test_chart_and_programs_have_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert (chart["version"], chart["appVersion"]) == (version, version)


def main():
    failed = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        try:
            test()
            print(f"ok      {name}")
        except Exception as error:  # noqa: BLE001: each test is judged by itself
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
