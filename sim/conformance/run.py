"""Holds a running box to what others know of EC2: botocore's service model, boto3, the AWS CLI, and moto.

Usage: run.py --ec2 URL --imds URL --admin URL [--differences FILE] [--show-differences]

The box must be fresh and hold the world that calls.world_of_the_box looks for. Ends with 0 when everything held, with
1 and the reasons when not. Every part runs, whatever the parts before it found.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

import calls
import cli
import clients
import differences
import life
import model

HERE = os.path.dirname(os.path.abspath(__file__))


class Report:
    """Runs parts, times them, and keeps what was wrong."""

    def __init__(self):
        self.problems = []
        self.passed = 0

    def part(self, name, work):
        start = time.monotonic()
        try:
            problems, note = work() or ([], "")
        except Exception:  # noqa: BLE001 - the other parts are to run
            problems, note = [traceback.format_exc()], ""
        took = time.monotonic() - start
        word = "FAILED" if problems else "ok"
        print(f"{word:>6} {took:6.2f} s  {name}{': ' + note if note else ''}", flush=True)
        for problem in problems:
            print("        " + problem.replace("\n", "\n        "), flush=True)
        self.problems += problems
        self.passed += not problems


def raw_errors(service, url):
    """What no SDK would send: the face's own refusals, with EC2's envelope, code and status."""
    day = time.strftime("%Y%m%d", time.gmtime())
    authorization = (f"AWS4-HMAC-SHA256 Credential=AKIARAW0000000000000/{day}/us-west-2/ec2/aws4_request, "
                     "SignedHeaders=host;x-amz-date, Signature=00")
    problems = []
    cases = [
        ("Action=LaunchRocket&Version=2016-11-15", authorization, 400, "InvalidAction"),
        ("Version=2016-11-15", authorization, 400, "MissingAction"),
        ("Action=DescribeVpcs&Version=1999-01-01", authorization, 400, "NoSuchVersion"),
        ("Action=AttachNetworkInterface&Version=2016-11-15", authorization, 400, "MissingParameter"),
        ("Action=DescribeVpcs&Version=2016-11-15&Colour=red", authorization, 400, "UnknownParameter"),
        ("Action=DescribeVpcs&Version=2016-11-15&MaxResults=many", authorization, 400, "InvalidParameterValue"),
        ("Action=DescribeVpcs&Version=2016-11-15", authorization.replace("/ec2/", "/s3/"), 401, "AuthFailure"),
        ("Action=DescribeVpcs&Version=2016-11-15", authorization.replace(day, "20260101"), 403, "SignatureDoesNotMatch"),
        ("Action=DescribeVpcs&Version=2016-11-15", None, 400, "MissingParameter"),
    ]
    for parameters, header, status, code in cases:
        found, body = clients.send_raw(url, parameters, header)
        problems += model.violations(service, "DescribeVpcs", found, body)
        if found != status or f"<Code>{code}</Code>".encode() not in body:
            problems.append(f"{parameters}: expected {status} {code}, got {found} {body!r}")
    return problems, f"{len(cases)} requests"


def fault_envelopes(service, client, recorder, admin):
    """Errors that only faults bring about have the envelope and the status too."""
    for kind, code in [({"type": "throttle"}, "RequestLimitExceeded"), ({"type": "deny"}, "UnauthorizedOperation"),
                       ({"type": "error-instead", "code": "InternalError", "message": "m"}, "InternalError"),
                       ({"type": "error-after-effect", "code": "Unavailable", "message": "<&>"}, "Unavailable")]:
        admin("POST", "/faults", {"kind": kind, "count": 1})
        life.refused(code, client.describe_vpcs)
    return validate(service, recorder)


def validate(service, recorder):
    """Holds every answer recorded since the last time to the model."""
    problems = []
    for operation, status, body in recorder.answers:
        problems += model.violations(service, operation, status, body)
    count = len(recorder.answers)
    actions = len({operation for operation, _, _ in recorder.answers})
    recorder.answers.clear()
    if not count:
        problems.append("no answer was recorded")
    return sorted(set(problems)), f"{count} answers of {actions} actions held to the model"


@contextlib.contextmanager
def moto_server():
    """An empty moto on a free port; yields its URL and ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = os.path.join(os.path.dirname(sys.executable), "moto_server")
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([sys.executable, program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(url + "/moto-api/data.json", timeout=5):
                        break
                except (urllib.error.URLError, OSError):
                    if server.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise RuntimeError(f"moto does not start: {log.read().decode()[-2000:]}") from None
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(timeout=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ec2", required=True)
    parser.add_argument("--imds", required=True)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--differences", default=os.path.join(HERE, "moto-differences.toml"))
    parser.add_argument("--show-differences", action="store_true", help="print every difference to moto, known or not")
    arguments = parser.parse_args()

    clients.scrub_environment()
    service = model.load()
    admin = clients.Admin(arguments.admin)
    recorder = clients.Recorder()
    client = recorder.watch(clients.ec2_client(arguments.ec2))
    patient = recorder.watch(clients.ec2_client(arguments.ec2, attempts=4))
    unchecked = recorder.watch(clients.ec2_client(arguments.ec2, validate=False))
    report = Report()
    runs = {}

    def checks_can_fail():
        wrong, count = model.self_test(service)
        return wrong + differences.self_test(service), f"{count} broken and good answers"

    def boto3_part(work, *more):
        def run():
            work(client, world, admin, *more)
            return validate(service, recorder)
        return run

    report.part("the checks themselves can fail", checks_can_fail)
    world = calls.world_of_the_box(client)
    for work, more in [(life.whole_life_of_an_eni, ()), (life.dry_runs, ()), (life.paginators, ()),
                       (life.many_at_once, ()), (life.retries, (patient,)), (life.waiters_on_instances, ())]:
        report.part(f"boto3: {work.__name__.replace('_', ' ')}", boto3_part(work, *more))
    report.part("boto3: role credentials from IMDS", lambda: life.role_credentials_from_imds(
        arguments.ec2, arguments.imds, world, admin))
    report.part("AWS CLI: few calls", lambda: cli.few_calls(cli.Cli(arguments.ec2, clients.REGION), world))
    report.part("raw requests that are refused", lambda: raw_errors(service, arguments.ec2))
    report.part("errors that faults bring", lambda: fault_envelopes(service, client, recorder, admin))

    def script_on_the_box():
        runs["box"] = calls.run(unchecked, world)
        problems, note = validate(service, recorder)
        problems += [f"{name}: {step.outcome} {step.facts}" for name, step in runs["box"].steps.items()
                     if step.outcome == "unreadable" or "missing" in step.facts]
        missing = set(operation_names(client)) - set(runs["box"].operations.values())
        return problems + [f"no step calls {name}" for name in sorted(missing)], f"{len(runs['box'].steps)} steps, {note}"

    def script_on_moto():
        with moto_server() as url:
            theirs = clients.ec2_client(url, validate=False)
            runs["moto"] = calls.run(theirs, calls.make_world(theirs))

    def compare():
        found = differences.compare(service, runs["box"], runs["moto"])
        if arguments.show_differences:
            for difference in found:
                print(json.dumps(difference))
        same = sum(1 for step in runs["box"].steps if runs["box"].steps[step].outcome == runs["moto"].steps[step].outcome)
        note = f"{same} of {len(runs['box'].steps)} steps end alike, {len(found)} differences"
        return differences.unexplained(service, found, arguments.differences), note

    report.part("script of calls on the box", script_on_the_box)
    report.part("the same script on moto", script_on_moto)
    report.part("differences to moto are the known ones", compare)
    print(f"{report.passed} parts held, {len(report.problems)} problems", flush=True)
    return 1 if report.problems else 0


def operation_names(client):
    """The actions that the box speaks, as it shows them in its refusals: all that the project needs."""
    return [client.meta.method_to_api_mapping[method] for method in (
        "describe_network_interfaces", "describe_instances", "describe_instance_status", "describe_subnets", "describe_instance_types",
        "describe_security_groups", "describe_vpcs", "describe_tags", "create_network_interface",
        "attach_network_interface", "detach_network_interface", "delete_network_interface",
        "modify_network_interface_attribute", "assign_private_ip_addresses", "unassign_private_ip_addresses",
        "assign_ipv6_addresses", "unassign_ipv6_addresses", "create_tags", "delete_tags")]


if __name__ == "__main__":
    sys.exit(main())
