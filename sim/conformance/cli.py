"""The AWS CLI, unchanged, does a few of the same calls. Each must end well and print what it is asked for."""

import json
import os
import subprocess
import sys


class Cli:
    """Runs the `aws` of this environment against one endpoint."""

    def __init__(self, url, region):
        self.program = os.path.join(os.path.dirname(sys.executable), "aws")
        self.environment = dict(
            os.environ, AWS_ACCESS_KEY_ID="AKIACLI0000000000000", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION=region,
            AWS_ENDPOINT_URL_EC2=url, AWS_MAX_ATTEMPTS="1")

    def __call__(self, *words):
        """The parsed answer of one call that ends well."""
        done = self._run(words)
        assert done.returncode == 0, f"aws ec2 {' '.join(words)}: {done.returncode}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, code, *words):
        """One call that ends with this error code, as the CLI prints it."""
        done = self._run(words)
        assert done.returncode in (254, 255) and f"({code})" in done.stderr, f"{done.returncode}: {done.stderr}"

    def _run(self, words):
        # The CLI's entry script starts with the path of the interpreter that installed it; run it by ours.
        return subprocess.run(
            [sys.executable, self.program, "ec2", *words], env=self.environment, capture_output=True, text=True, timeout=60)


def few_calls(cli, world):
    """Describe, create, attach, assign, tag, filter, detach, delete from a shell."""
    created = cli("create-network-interface", "--subnet-id", world.subnet, "--groups", world.group,
                  "--description", "made by the CLI", "--secondary-private-ip-address-count", "1",
                  "--tag-specifications", "ResourceType=network-interface,Tags=[{Key=by,Value=cli}]")
    eni = created["NetworkInterface"]["NetworkInterfaceId"]
    attached = cli("attach-network-interface", "--network-interface-id", eni, "--instance-id", world.instance, "--device-index", "7")
    cli("modify-network-interface-attribute", "--network-interface-id", eni,
        "--attachment", f"AttachmentId={attached['AttachmentId']},DeleteOnTermination=true")
    assigned = cli("assign-private-ip-addresses", "--network-interface-id", eni, "--secondary-private-ip-address-count", "2")
    assert len(assigned["AssignedPrivateIpAddresses"]) == 2, assigned
    # The CLI pages by itself and evaluates --query on the whole.
    shown = cli("describe-network-interfaces", "--filters", "Name=tag:by,Values=cli", f"Name=vpc-id,Values={world.vpc}", "--query",
                "NetworkInterfaces[].[NetworkInterfaceId, Attachment.DeleteOnTermination, length(PrivateIpAddresses)]")
    assert shown == [[eni, True, 4]], shown
    cli.refused("InvalidParameterValue", "delete-network-interface", "--network-interface-id", eni)
    # By force, which leaves the index 7 unusable.
    cli("detach-network-interface", "--attachment-id", attached["AttachmentId"], "--force")
    cli.refused("DryRunOperation", "delete-network-interface", "--network-interface-id", eni, "--dry-run")
    cli("delete-network-interface", "--network-interface-id", eni)
    types = cli("describe-instance-types", "--instance-types", "m5.large", "--query", "InstanceTypes[0].NetworkInfo.MaximumNetworkInterfaces")
    assert types == 3, types
