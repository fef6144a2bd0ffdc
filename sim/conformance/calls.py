"""One script of EC2 calls that runs against any EC2: the box, and moto.

What EC2 must refuse is asked of a second ENI, "scratch": where moto carries it out, the steps after it do not suffer.

Each step has a name and ends in an outcome ("ok" or an error code), in the members that the answer had, and in facts:
what the answer says about the thing that the step is about. Nothing in it may differ between two true EC2s.
"""

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError


class World:
    """What has to be there before the script: ids only."""

    def __init__(self, vpc, subnet, other_subnet, tiny_subnet, group, default_group, instance, zone):
        self.vpc, self.subnet, self.other_subnet, self.tiny_subnet = vpc, subnet, other_subnet, tiny_subnet
        self.group, self.default_group, self.instance, self.zone = group, default_group, instance, zone


def world_of_the_box(client):
    """Finds the box's world by its tags."""
    def named(operation, key, id_key, name):
        found = operation(Filters=[{"Name": "tag:Name", "Values": [name]}])[key]
        assert len(found) == 1, f"{name}: {found}"
        return found[0][id_key]

    vpc = named(client.describe_vpcs, "Vpcs", "VpcId", "box")
    groups = client.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    instances = client.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["node-a"]}])["Reservations"]
    return World(
        vpc,
        named(client.describe_subnets, "Subnets", "SubnetId", "a"),
        named(client.describe_subnets, "Subnets", "SubnetId", "b"),
        named(client.describe_subnets, "Subnets", "SubnetId", "tiny"),
        next(group["GroupId"] for group in groups if group["GroupName"] == "nodes"),
        next(group["GroupId"] for group in groups if group["GroupName"] == "default"),
        instances[0]["Instances"][0]["InstanceId"],
        instances[0]["Instances"][0]["Placement"]["AvailabilityZone"],
    )


def make_world(client):
    """Makes the same world in an empty EC2 that can make one."""
    def tagged(kind, name):
        return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]

    vpc = client.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True, TagSpecifications=tagged("vpc", "box"))["Vpc"]["VpcId"]
    client.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/16")
    associations = client.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
    block = associations[0]["Ipv6CidrBlock"].replace("/56", "/64")

    def subnet(name, zone, cidr, **more):
        made = client.create_subnet(
            VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone, TagSpecifications=tagged("subnet", name), **more)
        return made["Subnet"]["SubnetId"]

    one = subnet("a", "us-west-2a", "10.0.0.0/24", Ipv6CidrBlock=block)
    other = subnet("b", "us-west-2b", "10.0.1.0/24")
    tiny = subnet("tiny", "us-west-2a", "10.0.2.0/28")
    group = client.create_security_group(
        GroupName="nodes", Description="nodes", VpcId=vpc, TagSpecifications=tagged("security-group", "nodes"))["GroupId"]
    groups = client.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    default = next(found["GroupId"] for found in groups if found["GroupName"] == "default")
    image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    instance = client.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large", SubnetId=one, SecurityGroupIds=[group],
        TagSpecifications=tagged("instance", "node-a"))["Instances"][0]["InstanceId"]
    return World(vpc, one, other, tiny, group, default, instance, "us-west-2a")


class Step:
    """What came of one step."""

    def __init__(self, outcome, response, facts):
        self.outcome, self.response, self.facts = outcome, response, facts


class Runner:
    """Carries out steps on one EC2 and keeps what came of each, by name."""

    def __init__(self, client):
        self.client = client
        self.steps = {}
        self.operations = {}

    def __call__(self, step, operation, facts=None, **parameters):
        assert step not in self.steps, f"two steps are called {step}"
        self.operations[step] = self.client.meta.method_to_api_mapping[operation]
        try:
            response = getattr(self.client, operation)(**parameters)
        except ClientError as error:
            self.steps[step] = Step(error.response["Error"]["Code"], {}, {})
            return {}
        except ResponseParserError:
            # moto answers an HTML page where it does not know what to do.
            self.steps[step] = Step("unreadable", {}, {})
            return {}
        response.pop("ResponseMetadata", None)
        try:
            found = facts(response) if facts else {}
        except (KeyError, IndexError) as error:
            found = {"missing": repr(error)}
        self.steps[step] = Step("ok", response, found)
        return response


def run(client, world):
    """The script. Returns the runner with every step's outcome."""
    call = Runner(client)
    _reads(call, world)
    eni, scratch = _create(call, world)
    attachment = _attach(call, world, eni, scratch)
    _modify(call, world, eni, scratch, attachment)
    _addresses(call, world, eni, scratch)
    _ipv6(call, eni)
    _tags(call, eni)
    _detach_and_delete(call, eni, attachment)
    _limits(call, world)
    _full_subnet(call, world)
    _pages(call, world)
    return call


def _filters(**values):
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in values.items()]


def _count(*path):
    """A fact: how many there are at the end of `path`; lists on the way are entered at their first element."""
    def count(response):
        here = response
        for name in path:
            if isinstance(here, list):
                here = here[0]
            here = here.get(name, [])
        return {"count": len(here)}
    return count


def _eni_facts(response):
    """What an answer says about its one ENI."""
    eni = response.get("NetworkInterface") or response["NetworkInterfaces"][0]
    attachment = eni.get("Attachment", {})
    return {
        "status": eni["Status"],
        "addresses": len(eni["PrivateIpAddresses"]),
        "primaries": sum(address["Primary"] for address in eni["PrivateIpAddresses"]),
        "prefixes": len(eni.get("Ipv4Prefixes", [])),
        "ipv6": len(eni.get("Ipv6Addresses", [])),
        "ipv6-prefixes": len(eni.get("Ipv6Prefixes", [])),
        "groups": len(eni["Groups"]),
        "description": eni.get("Description"),
        "source-dest-check": eni["SourceDestCheck"],
        "interface-type": eni["InterfaceType"],
        "tags": sorted((tag["Key"], tag["Value"]) for tag in eni.get("TagSet", [])),
        "device-index": attachment.get("DeviceIndex"),
        "card": attachment.get("NetworkCardIndex"),
        "delete-on-termination": attachment.get("DeleteOnTermination"),
    }


def _reads(call, world):
    call("describe-vpc", "describe_vpcs", _count("Vpcs", "CidrBlockAssociationSet"), VpcIds=[world.vpc])
    call("describe-vpc-unknown", "describe_vpcs", VpcIds=["vpc-0123456789abcdef0"])
    call("describe-subnets", "describe_subnets", _count("Subnets"),
         Filters=_filters(vpc_id=world.vpc, availability_zone=world.zone))
    call("describe-subnet-free", "describe_subnets",
         lambda response: {"free": response["Subnets"][0]["AvailableIpAddressCount"]}, SubnetIds=[world.subnet])
    call("describe-subnet-unknown", "describe_subnets", SubnetIds=["subnet-0123456789abcdef0"])
    call("describe-subnets-by-tag", "describe_subnets", _count("Subnets"),
         Filters=[{"Name": "tag:Name", "Values": ["a", "ti*"]}, *_filters(vpc_id=world.vpc)])
    call("describe-subnets-unknown-filter", "describe_subnets", Filters=_filters(colour="red"))
    call("describe-groups", "describe_security_groups", _count("SecurityGroups"), GroupIds=[world.group])
    call("describe-group-unknown", "describe_security_groups", GroupIds=["sg-0123456789abcdef0"])
    call("describe-groups-by-name", "describe_security_groups", _count("SecurityGroups"),
         Filters=_filters(vpc_id=world.vpc, group_name="nodes"))

    def instance(response):
        found = response["Reservations"][0]["Instances"][0]
        return {"type": found["InstanceType"], "state": found["State"]["Name"],
                "enis": len(found["NetworkInterfaces"]), "groups": len(found["SecurityGroups"])}

    call("describe-instance", "describe_instances", instance, InstanceIds=[world.instance])
    call("describe-instance-unknown", "describe_instances", InstanceIds=["i-0123456789abcdef0"])
    call("describe-instance-malformed", "describe_instances", InstanceIds=["i-nonsense"])

    def status(response):
        found = response["InstanceStatuses"][0]
        return {"state": found["InstanceState"]["Name"], "events": len(found.get("Events", [])),
                "system": found["SystemStatus"]["Status"], "instance": found["InstanceStatus"]["Status"],
                "checks": [(check["Name"], check["Status"]) for check in found["SystemStatus"]["Details"]]}

    call("describe-status", "describe_instance_status", status, InstanceIds=[world.instance])
    call("describe-status-unknown", "describe_instance_status", InstanceIds=["i-0123456789abcdef0"])
    call("describe-status-by-state", "describe_instance_status", _count("InstanceStatuses"), IncludeAllInstances=True,
         Filters=_filters(instance_state_name="stopped"))

    def network(response):
        info = response["InstanceTypes"][0]["NetworkInfo"]
        return {"enis": info["MaximumNetworkInterfaces"], "ipv4": info["Ipv4AddressesPerInterface"],
                "ipv6": info["Ipv6AddressesPerInterface"], "cards": len(info["NetworkCards"]),
                "on-card-0": info["NetworkCards"][0]["MaximumNetworkInterfaces"],
                "hypervisor": response["InstanceTypes"][0].get("Hypervisor")}

    for kind in ("m5.large", "m5.4xlarge", "t3.medium", "m4.4xlarge", "p4d.24xlarge", "p5.48xlarge", "g4dn.metal"):
        call(f"describe-type-{kind}", "describe_instance_types", network, InstanceTypes=[kind])
    call("describe-type-unknown", "describe_instance_types", InstanceTypes=["x9.gigantic"])
    call("describe-enis-of-instance", "describe_network_interfaces", _eni_facts,
         Filters=[{"Name": "attachment.instance-id", "Values": [world.instance]}])
    call("describe-eni-unknown", "describe_network_interfaces", NetworkInterfaceIds=["eni-0123456789abcdef0"])
    call("describe-eni-malformed", "describe_network_interfaces", NetworkInterfaceIds=["eni-nonsense"])
    call("describe-enis-unknown-filter", "describe_network_interfaces", Filters=_filters(colour="red"))
    call("describe-dry-run", "describe_network_interfaces", DryRun=True)


def _create(call, world):
    wanted = dict(
        SubnetId=world.subnet, Groups=[world.group], Description="aws-K8S-" + world.instance,
        SecondaryPrivateIpAddressCount=2, ClientToken="conformance-1",
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [
            {"Key": "node.k8s.amazonaws.com/instance_id", "Value": world.instance}, {"Key": "empty", "Value": ""}]}])

    def without_ids(response):
        facts = _eni_facts(response)
        facts["description"] = facts["description"].replace(world.instance, "INSTANCE")
        facts["tags"] = [(key, value.replace(world.instance, "INSTANCE")) for key, value in facts["tags"]]
        return facts

    call("create-dry-run", "create_network_interface", DryRun=True, **wanted)
    created = call("create", "create_network_interface", without_ids, **wanted)
    eni = _id(created)
    same = lambda response: {"same": response["NetworkInterface"]["NetworkInterfaceId"] == eni}
    call("create-same-token", "create_network_interface", same, **wanted)
    call("create-same-token-other-parameters", "create_network_interface", same, **{**wanted, "Description": "other"})
    call("create-in-unknown-subnet", "create_network_interface", SubnetId="subnet-0123456789abcdef0")
    call("create-with-unknown-group", "create_network_interface", SubnetId=world.subnet, Groups=["sg-0123456789abcdef0"])
    scratch = call("create-at-address", "create_network_interface", _eni_facts, SubnetId=world.subnet, PrivateIpAddress="10.0.0.77")
    call("create-at-same-address", "create_network_interface", SubnetId=world.subnet, PrivateIpAddress="10.0.0.77")
    call("create-at-reserved-address", "create_network_interface", SubnetId=world.subnet, PrivateIpAddress="10.0.0.2")
    call("create-at-foreign-address", "create_network_interface", SubnetId=world.subnet, PrivateIpAddress="10.0.1.9")
    call("describe-created", "describe_network_interfaces", without_ids, NetworkInterfaceIds=[eni])
    call("describe-available-by-tag-key", "describe_network_interfaces", _count("NetworkInterfaces"), Filters=[
        {"Name": "tag-key", "Values": ["node.k8s.amazonaws.com/instance_id"]},
        {"Name": "status", "Values": ["available"]}, {"Name": "vpc-id", "Values": [world.vpc]}], MaxResults=1000)
    return eni, _id(scratch)


def _id(created):
    """The id of a new ENI, or one that is nobody's when it was not made."""
    return created.get("NetworkInterface", {}).get("NetworkInterfaceId", "eni-0123456789abcdef0")


def _attach(call, world, eni, scratch):
    where = dict(NetworkInterfaceId=scratch, InstanceId=world.instance)
    call("attach-dry-run", "attach_network_interface", DeviceIndex=1, DryRun=True, **where)
    call("attach-device-in-use", "attach_network_interface", DeviceIndex=0, **where)
    call("attach-unknown-card", "attach_network_interface", DeviceIndex=1, NetworkCardIndex=3, **where)
    call("attach-unknown-instance", "attach_network_interface", NetworkInterfaceId=scratch, InstanceId="i-0123456789abcdef0", DeviceIndex=1)
    call("attach-unknown-eni", "attach_network_interface", NetworkInterfaceId="eni-0123456789abcdef0", InstanceId=world.instance, DeviceIndex=1)
    attached = call("attach", "attach_network_interface", DeviceIndex=1, NetworkCardIndex=0,
                    NetworkInterfaceId=eni, InstanceId=world.instance)
    call("describe-attached", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items() if key not in ("description", "tags")},
        NetworkInterfaceIds=[eni])
    call("describe-instance-with-two", "describe_instances", lambda response: {"devices": sorted(
        found["Attachment"]["DeviceIndex"] for found in response["Reservations"][0]["Instances"][0]["NetworkInterfaces"])},
        InstanceIds=[world.instance])
    call("delete-attached-dry-run", "delete_network_interface", DryRun=True, NetworkInterfaceId=eni)
    return attached.get("AttachmentId", "eni-attach-0123456789abcdef0")


def _modify(call, world, eni, scratch, attachment):
    call("modify-delete-on-termination", "modify_network_interface_attribute", NetworkInterfaceId=eni,
         Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    call("modify-unknown-attachment", "modify_network_interface_attribute", NetworkInterfaceId=scratch,
         Attachment={"AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True})
    call("modify-groups", "modify_network_interface_attribute", NetworkInterfaceId=eni, Groups=[world.group, world.default_group])
    call("modify-unknown-group", "modify_network_interface_attribute", NetworkInterfaceId=scratch, Groups=["sg-0123456789abcdef0"])
    call("modify-description", "modify_network_interface_attribute", NetworkInterfaceId=eni, Description={"Value": "<new> & \"quoted\""})
    call("modify-source-dest-check", "modify_network_interface_attribute", NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    call("modify-two-at-once", "modify_network_interface_attribute", NetworkInterfaceId=scratch,
         Description={"Value": "x"}, SourceDestCheck={"Value": True})
    call("modify-unknown-eni", "modify_network_interface_attribute", NetworkInterfaceId="eni-0123456789abcdef0", SourceDestCheck={"Value": True})
    call("describe-modified", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items() if key != "tags"}, NetworkInterfaceIds=[eni])


def _addresses(call, world, eni, scratch):
    assigned = _count("AssignedPrivateIpAddresses")
    call("assign-by-count", "assign_private_ip_addresses", assigned, NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    call("assign-explicit", "assign_private_ip_addresses", assigned, NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.200"])
    call("assign-again", "assign_private_ip_addresses", NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.200"])
    call("assign-of-other-eni", "assign_private_ip_addresses", NetworkInterfaceId=scratch, PrivateIpAddresses=["10.0.0.200"])
    call("assign-foreign", "assign_private_ip_addresses", NetworkInterfaceId=scratch, PrivateIpAddresses=["10.0.1.9"])
    call("assign-nothing", "assign_private_ip_addresses", NetworkInterfaceId=scratch)
    call("assign-prefix", "assign_private_ip_addresses", _count("AssignedIpv4Prefixes"), NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    call("assign-unknown-eni", "assign_private_ip_addresses", NetworkInterfaceId="eni-0123456789abcdef0", SecondaryPrivateIpAddressCount=1)
    shown = call("describe-assigned", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items() if key in ("addresses", "primaries", "prefixes")},
        NetworkInterfaceIds=[eni])
    call("unassign", "unassign_private_ip_addresses", NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.200"])
    call("unassign-again", "unassign_private_ip_addresses", NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.200"])
    call("unassign-primary", "unassign_private_ip_addresses", NetworkInterfaceId=scratch, PrivateIpAddresses=["10.0.0.77"])
    call("unassign-unknown-eni", "unassign_private_ip_addresses", NetworkInterfaceId="eni-0123456789abcdef0", PrivateIpAddresses=["10.0.0.200"])
    call("describe-unassigned", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items() if key in ("addresses", "primaries", "prefixes")},
        NetworkInterfaceIds=[eni])
    prefixes = [found["Ipv4Prefix"] for eni_shown in shown.get("NetworkInterfaces", []) for found in eni_shown.get("Ipv4Prefixes", [])]
    call("unassign-prefix", "unassign_private_ip_addresses", NetworkInterfaceId=eni, Ipv4Prefixes=prefixes or ["10.0.0.128/28"])
    call("describe-subnet-free-after", "describe_subnets",
         lambda response: {"free": response["Subnets"][0]["AvailableIpAddressCount"]}, SubnetIds=[world.subnet])


def _ipv6(call, eni):
    assigned = call("assign-ipv6", "assign_ipv6_addresses", _count("AssignedIpv6Addresses"), NetworkInterfaceId=eni, Ipv6AddressCount=1)
    call("assign-ipv6-prefix", "assign_ipv6_addresses", _count("AssignedIpv6Prefixes"), NetworkInterfaceId=eni, Ipv6PrefixCount=1)
    shown = call("describe-ipv6", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items() if key.startswith("ipv6")}, NetworkInterfaceIds=[eni])
    prefixes = [found["Ipv6Prefix"] for eni_shown in shown.get("NetworkInterfaces", []) for found in eni_shown.get("Ipv6Prefixes", [])]
    addresses = assigned.get("AssignedIpv6Addresses", [])
    call("unassign-ipv6", "unassign_ipv6_addresses", _count("UnassignedIpv6Addresses"), NetworkInterfaceId=eni, Ipv6Addresses=addresses or ["2001:db8::1"])
    call("unassign-ipv6-prefix", "unassign_ipv6_addresses", _count("UnassignedIpv6Prefixes"), NetworkInterfaceId=eni, Ipv6Prefixes=prefixes or ["2001:db8::/80"])


def _tags(call, eni):
    count = _count("Tags")
    mine = [{"Name": "resource-id", "Values": [eni]}]
    call("create-tags", "create_tags", Resources=[eni], Tags=[{"Key": "colour", "Value": "red"}, {"Key": "empty", "Value": "full"}])
    call("describe-tags", "describe_tags", lambda response: {"tags": sorted(
        (tag["Key"], tag["ResourceType"]) for tag in response["Tags"])}, Filters=mine)
    call("delete-tag-with-other-value", "delete_tags", Resources=[eni], Tags=[{"Key": "colour", "Value": "blue"}])
    call("describe-tags-kept", "describe_tags", count, Filters=mine)
    call("delete-tag", "delete_tags", Resources=[eni], Tags=[{"Key": "colour"}])
    call("describe-tags-fewer", "describe_tags", count, Filters=mine)
    call("create-tags-on-unknown", "create_tags", Resources=["eni-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])
    call("create-tags-dry-run", "create_tags", DryRun=True, Resources=[eni], Tags=[{"Key": "a", "Value": "b"}])


def _detach_and_delete(call, eni, attachment):
    call("delete-unknown", "delete_network_interface", NetworkInterfaceId="eni-0123456789abcdef0")
    call("detach-unknown", "detach_network_interface", AttachmentId="eni-attach-0123456789abcdef0")
    call("detach-dry-run", "detach_network_interface", DryRun=True, AttachmentId=attachment)
    call("detach", "detach_network_interface", AttachmentId=attachment)
    call("describe-detached", "describe_network_interfaces", lambda response: {
        key: value for key, value in _eni_facts(response).items()
        if key in ("status", "device-index", "card", "delete-on-termination")}, NetworkInterfaceIds=[eni])
    call("detach-again", "detach_network_interface", AttachmentId=attachment)
    call("delete", "delete_network_interface", NetworkInterfaceId=eni)
    call("describe-deleted", "describe_network_interfaces", NetworkInterfaceIds=[eni])
    call("delete-again", "delete_network_interface", NetworkInterfaceId=eni)


def _limits(call, world):
    """An m5.large takes three ENIs with ten addresses each."""
    attachments = []
    for index in (1, 2, 3):
        created = call(f"limit-create-{index}", "create_network_interface", SubnetId=world.subnet, Groups=[world.group])
        eni = _id(created)
        attached = call(f"limit-attach-{index}", "attach_network_interface", NetworkInterfaceId=eni, InstanceId=world.instance, DeviceIndex=index)
        attachments.append((eni, attached.get("AttachmentId")))
    call("assign-too-many", "assign_private_ip_addresses", NetworkInterfaceId=attachments[0][0], SecondaryPrivateIpAddressCount=10)
    call("attach-again", "attach_network_interface", NetworkInterfaceId=attachments[0][0], InstanceId=world.instance, DeviceIndex=9)
    call("delete-in-use", "delete_network_interface", NetworkInterfaceId=attachments[0][0])
    call("after-delete-in-use", "describe_network_interfaces", lambda response: {"found": len(response["NetworkInterfaces"])},
         NetworkInterfaceIds=[attachments[0][0]])


def _full_subnet(call, world):
    """A /28 has eleven usable addresses and no block for a prefix."""
    call("prefix-in-tiny-subnet", "create_network_interface", SubnetId=world.tiny_subnet, Ipv4PrefixCount=1)
    call("more-than-a-subnet-has", "create_network_interface", SubnetId=world.tiny_subnet, SecondaryPrivateIpAddressCount=14)
    call("fill-tiny-subnet", "create_network_interface", _eni_facts, SubnetId=world.tiny_subnet, SecondaryPrivateIpAddressCount=10)
    call("tiny-subnet-free", "describe_subnets",
         lambda response: {"free": response["Subnets"][0]["AvailableIpAddressCount"]}, SubnetIds=[world.tiny_subnet])
    call("create-in-full-subnet", "create_network_interface", SubnetId=world.tiny_subnet)


def _pages(call, world):
    for index in range(7):
        call(f"page-create-{index}", "create_network_interface", SubnetId=world.other_subnet, Description=f"page {index}")
    mine = [{"Name": "subnet-id", "Values": [world.other_subnet]}, {"Name": "description", "Values": ["page *"]}]
    page = lambda response: {"count": len(response["NetworkInterfaces"]), "more": bool(response.get("NextToken"))}
    first = call("page-1", "describe_network_interfaces", page, Filters=mine, MaxResults=5)
    call("page-2", "describe_network_interfaces", page, Filters=mine, MaxResults=5,
         **({"NextToken": first["NextToken"]} if first.get("NextToken") else {}))
    call("page-too-small", "describe_network_interfaces", page, Filters=mine, MaxResults=4)
    call("page-bad-token", "describe_network_interfaces", page, Filters=mine, MaxResults=5, NextToken="nonsense")
