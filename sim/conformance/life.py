"""boto3 does, unchanged, what boto3 does: the whole life of an ENI, paginators, dry runs, waiters, retries."""

import datetime
import threading
import time

import botocore.session
from botocore.exceptions import ClientError, ConnectionClosedError, WaiterError

from clients import REGION, client_config


def refused(code, operation, **parameters):
    """Carries out a call that must fail with `code`; returns the message."""
    try:
        answer = operation(**parameters)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"expected {code}, got {error}"
        return error.response["Error"]["Message"]
    raise AssertionError(f"expected {code}, got {answer}")


def whole_life_of_an_eni(client, world, admin):
    """Create, wait, attach, change, assign, unassign, detach, wait, delete; states are seen to be passed through."""
    admin("PUT", "/timing", {"create_takes": 700, "attach_takes": 700, "detach_takes": 700})
    waiter = client.get_waiter("network_interface_available")
    quick = {"Delay": 1, "MaxAttempts": 10}
    created = client.create_network_interface(
        SubnetId=world.subnet, Groups=[world.group], Description="life", SecondaryPrivateIpAddressCount=3,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "Name", "Value": "life"}]}])
    eni = created["NetworkInterface"]["NetworkInterfaceId"]
    assert created["NetworkInterface"]["Status"] == "pending", created
    # botocore fills in a client token, and EC2 says it back.
    assert created["ClientToken"], created
    waiter.wait(NetworkInterfaceIds=[eni], WaiterConfig=quick)

    def show():
        return client.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]

    attachment = client.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=world.instance, DeviceIndex=1, NetworkCardIndex=0)["AttachmentId"]
    assert show()["Attachment"]["Status"] == "attaching", show()
    deadline = time.monotonic() + 5
    while show()["Attachment"]["Status"] != "attached":
        assert time.monotonic() < deadline, show()
        time.sleep(0.1)
    assert show()["Status"] == "in-use"
    # A botocore datetime is aware: it came with a zone.
    assert show()["Attachment"]["AttachTime"].tzinfo is not None
    try:
        waiter.wait(NetworkInterfaceIds=[eni], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
        raise AssertionError("an ENI in use was waited for as available")
    except WaiterError:
        pass
    client.modify_network_interface_attribute(
        NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    client.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    client.modify_network_interface_attribute(NetworkInterfaceId=eni, Description={"Value": "né <&> \"q\""})
    assert show()["Attachment"]["DeleteOnTermination"] is True
    assert show()["SourceDestCheck"] is False
    assert show()["Description"] == "né <&> \"q\""

    added = client.assign_private_ip_addresses(NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    added = [address["PrivateIpAddress"] for address in added["AssignedPrivateIpAddresses"]]
    assert len(added) == 2
    held = {address["PrivateIpAddress"] for address in show()["PrivateIpAddresses"]}
    assert len(held) == 6 and set(added) < held, held
    refused("PrivateIpAddressLimitExceeded", client.assign_private_ip_addresses,
            NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=9)
    prefix = client.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4PrefixCount=1)["AssignedIpv4Prefixes"][0]["Ipv4Prefix"]
    assert [found["Ipv4Prefix"] for found in show()["Ipv4Prefixes"]] == [prefix]
    client.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=added)
    client.unassign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=[prefix])
    assert len(show()["PrivateIpAddresses"]) == 4
    refused("InvalidParameterValue", client.unassign_private_ip_addresses, NetworkInterfaceId=eni, PrivateIpAddresses=added)
    ipv6 = client.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6AddressCount=1)["AssignedIpv6Addresses"]
    assert [found["Ipv6Address"] for found in show()["Ipv6Addresses"]] == ipv6
    assert client.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=ipv6)["UnassignedIpv6Addresses"] == ipv6

    assert "in use" in refused("InvalidParameterValue", client.delete_network_interface, NetworkInterfaceId=eni)
    client.detach_network_interface(AttachmentId=attachment)
    assert show()["Status"] == "detaching" or show()["Attachment"]["Status"] == "detaching", show()
    waiter.wait(NetworkInterfaceIds=[eni], WaiterConfig=quick)
    client.delete_network_interface(NetworkInterfaceId=eni)
    message = refused("InvalidNetworkInterfaceID.NotFound", client.describe_network_interfaces, NetworkInterfaceIds=[eni])
    assert f"'{eni}'" in message, message
    admin("PUT", "/timing", {})


def dry_runs(client, world, admin):
    """Every action that has DryRun answers it and does nothing."""
    eni = client.create_network_interface(SubnetId=world.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    before = client.describe_network_interfaces()["NetworkInterfaces"]
    tags = [{"Key": "a", "Value": "b"}]
    for operation, parameters in [
        (client.describe_network_interfaces, {}), (client.describe_instances, {}), (client.describe_subnets, {}),
        (client.describe_instance_status, {}),
        (client.describe_vpcs, {}), (client.describe_security_groups, {}), (client.describe_tags, {}),
        (client.describe_instance_types, {}),
        (client.create_network_interface, {"SubnetId": world.subnet}),
        (client.attach_network_interface, {"NetworkInterfaceId": eni, "InstanceId": world.instance, "DeviceIndex": 1}),
        (client.modify_network_interface_attribute, {"NetworkInterfaceId": eni, "SourceDestCheck": {"Value": False}}),
        (client.create_tags, {"Resources": [eni], "Tags": tags}), (client.delete_tags, {"Resources": [eni], "Tags": tags}),
        (client.delete_network_interface, {"NetworkInterfaceId": eni}),
    ]:
        refused("DryRunOperation", operation, DryRun=True, **parameters)
    assert client.describe_network_interfaces()["NetworkInterfaces"] == before
    admin("POST", "/faults", {"kind": {"type": "deny"}, "scope": {"actions": ["DeleteNetworkInterface"]}})
    refused("UnauthorizedOperation", client.delete_network_interface, DryRun=True, NetworkInterfaceId=eni)
    admin("DELETE", "/faults")
    client.delete_network_interface(NetworkInterfaceId=eni)


def paginators(client, world, admin):
    """Every page size gives the same whole, nothing twice and nothing missing."""
    enis = [client.create_network_interface(SubnetId=world.other_subnet)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(12)]
    client.create_tags(Resources=enis, Tags=[{"Key": "page", "Value": "x"}])
    for operation, key, ident, parameters in [
        ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", {}),
        ("describe_instance_types", "InstanceTypes", "InstanceType", {}),
        ("describe_tags", "Tags", "ResourceId", {"Filters": [{"Name": "key", "Values": ["page"]}]}),
        ("describe_instances", "Reservations", "ReservationId", {}),
        ("describe_instance_status", "InstanceStatuses", "InstanceId", {}),
        ("describe_subnets", "Subnets", "SubnetId", {}),
        ("describe_vpcs", "Vpcs", "VpcId", {}),
        ("describe_security_groups", "SecurityGroups", "GroupId", {}),
    ]:
        whole = [item[ident] for item in getattr(client, operation)(**parameters)[key]]
        assert len(whole) == len(set(whole)) > 0, whole
        for size in (5, 7, 100):
            pages = list(client.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **parameters))
            assert all(len(page[key]) <= size for page in pages)
            found = [item[ident] for page in pages for item in page[key]]
            assert found == whole, f"{operation} by {size}: {found} != {whole}"
            if len(whole) > size:
                assert len(pages) > 1, f"{operation}: one page of {len(whole)} with PageSize {size}"
    for eni in enis:
        client.delete_network_interface(NetworkInterfaceId=eni)


def waiters_on_instances(client, world, admin):
    """The instance waiters see an instance run and end."""
    found = client.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["node-b"]}])["Reservations"]
    instance = found[0]["Instances"][0]["InstanceId"]
    quick = {"Delay": 1, "MaxAttempts": 10}
    client.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig=quick)
    client.get_waiter("instance_status_ok").wait(InstanceIds=[instance], WaiterConfig=quick)
    retires = {"kind": {"type": "instance-retires", "after_ms": 3600000}, "scope": {"instance": instance}}
    fault = admin("POST", "/faults", retires)["id"]
    events = client.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"][0]["Events"]
    assert [event["Code"] for event in events] == ["instance-retirement"], events
    ahead = events[0]["NotBefore"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=55) < ahead < datetime.timedelta(minutes=65), events
    admin("DELETE", f"/faults/{fault}")
    client.get_waiter("subnet_available").wait(SubnetIds=[world.subnet], WaiterConfig=quick)
    client.get_waiter("vpc_available").wait(VpcIds=[world.vpc], WaiterConfig=quick)
    client.get_waiter("security_group_exists").wait(GroupIds=[world.group], WaiterConfig=quick)
    admin("PUT", "/timing", {"terminate_takes": 1500})
    admin("POST", f"/instances/{instance}/terminate")
    state = client.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]
    assert state == {"Code": 32, "Name": "shutting-down"}, state
    client.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig=quick)
    admin("PUT", "/timing", {})


def retries(client, world, admin, retrying_client):
    """boto3's own retries work: throttling is retried, and a lost answer to Create makes one ENI, not two."""
    def set_fault(kind, action, count):
        admin("POST", "/log/reset")
        admin("POST", "/faults", {"kind": {"type": kind}, "scope": {"actions": [action]}, "count": count})

    set_fault("throttle", "DescribeVpcs", 2)
    assert len(retrying_client.describe_vpcs()["Vpcs"]) == 1
    assert admin("GET", "/log/counts")["ec2"] == {"DescribeVpcs": 3}
    set_fault("throttle", "DescribeVpcs", 1)
    refused("RequestLimitExceeded", client.describe_vpcs)

    mine = [{"Name": "description", "Values": ["lost"]}]
    set_fault("answer-lost", "CreateNetworkInterface", 1)
    made = retrying_client.create_network_interface(SubnetId=world.subnet, Description="lost")["NetworkInterface"]
    found = client.describe_network_interfaces(Filters=mine)["NetworkInterfaces"]
    assert [eni["NetworkInterfaceId"] for eni in found] == [made["NetworkInterfaceId"]], found
    assert admin("GET", "/log/counts")["ec2"]["CreateNetworkInterface"] == 2
    client.delete_network_interface(NetworkInterfaceId=made["NetworkInterfaceId"])
    set_fault("answer-lost", "CreateNetworkInterface", 1)
    try:
        client.create_network_interface(SubnetId=world.subnet, Description="lost")
        raise AssertionError("a lost answer arrived")
    except ConnectionClosedError:
        pass
    found = client.describe_network_interfaces(Filters=mine)["NetworkInterfaces"]
    assert len(found) == 1, found
    client.delete_network_interface(NetworkInterfaceId=found[0]["NetworkInterfaceId"])


def many_at_once(client, world, admin):
    """Calls in flight together are all answered; the ENIs are distinct, and so are their addresses."""
    made, wrong = [], []

    def make():
        try:
            made.append(client.create_network_interface(SubnetId=world.other_subnet)["NetworkInterface"])
        except Exception as error:  # noqa: BLE001 - a thread must not lose it
            wrong.append(error)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong, wrong
    assert len({eni["NetworkInterfaceId"] for eni in made}) == 16
    assert len({eni["PrivateIpAddress"] for eni in made}) == 16
    assert len({eni["MacAddress"] for eni in made}) == 16
    for eni in made:
        client.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])


def role_credentials_from_imds(ec2_url, imds_url, world, admin):
    """botocore's own chain finds the role in IMDS, and the calls it signs are the instance's."""
    session = botocore.session.Session()
    for name, value in [("ec2_metadata_service_endpoint", imds_url), ("metadata_service_timeout", 5), ("region", REGION)]:
        session.set_config_variable(name, value)
    import os
    os.environ["AWS_EC2_METADATA_DISABLED"] = "false"
    try:
        credentials = session.get_credentials()
    finally:
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    assert credentials is not None and credentials.method == "iam-role", credentials
    assert not credentials.refresh_needed()
    client = session.create_client("ec2", endpoint_url=ec2_url, config=client_config(1))
    admin("POST", "/log/reset")
    client.describe_vpcs()
    assert admin("GET", "/log/counts")["ec2_by_caller"] == {world.instance: {"DescribeVpcs": 1}}
