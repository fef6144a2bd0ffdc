"""Holds raw EC2 answers to the service model that botocore carries.

botocore's own parser is lenient: it skips members it does not know and makes do with what is there. This one reads
the XML itself and reports every member the model does not have, every list without its wrapper, every value of the
wrong type, and every envelope that is not EC2's.
"""

import datetime
import html
import re
import xml.etree.ElementTree as ET

from botocore.loaders import Loader
from botocore.model import NoShapeFoundError, ServiceModel

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

# EC2 sends these although the model's enumeration lacks them. EC2's API reference shows a new ENI as "pending"; a type that came
# after this model is in no list, and the box has one.
BEYOND_THE_ENUM = {("NetworkInterfaceStatus", "pending"), ("InstanceType", "z9.large")}


def load():
    """The EC2 service model of the installed botocore."""
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


def documentation(service, name):
    """What the model says of an operation, a structure, or a member of one, without markup; None for what it lacks."""
    shape, _, member = name.partition(".")
    try:
        if member:
            text = service.shape_for(shape).members[member].documentation
        elif name in service.operation_names:
            text = service.operation_model(name).documentation
        else:
            text = service.shape_for(name).documentation
    except (NoShapeFoundError, KeyError):
        return None
    return " ".join(html.unescape(re.sub("<[^>]*>", "", text)).split())


def violations(service, operation, status, body):
    """Everything in which the answer `body` to `operation` (a name) differs from the model, as a list of sentences."""
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        return [f"{operation}: not XML: {error}: {body[:200]!r}"]
    found = []
    if status >= 300:
        _error(root, status, found)
    else:
        _answer(service.operation_model(operation), root, found)
    return [f"{operation}: {sentence}" for sentence in found]


def _answer(operation, root, found):
    namespace, name = _split(root.tag)
    if namespace != NAMESPACE:
        found.append(f"root namespace is {namespace!r}")
    if name != operation.name + "Response":
        found.append(f"root element is {name}")
    children = list(root)
    if not children or _split(children[0].tag)[1] != "requestId" or not (children[0].text or "").strip():
        found.append("requestId is not the first element")
    rest = [child for child in children if _split(child.tag)[1] != "requestId"]
    shape = operation.output_shape
    if shape is None or not shape.members:
        # Actions without a result answer <return>true</return>.
        if [(_split(child.tag)[1], child.text) for child in rest] != [("return", "true")]:
            found.append("expected <return>true</return> and nothing else")
        return
    _members(shape, rest, operation.name, found)
    if operation.name.startswith("Describe"):
        present = {_split(child.tag)[1] for child in rest}
        for member, member_shape in shape.members.items():
            wrapper = _wire_name(member, member_shape)
            if member_shape.type_name == "list" and wrapper not in present:
                found.append(f"list wrapper {wrapper} is missing")


def _error(root, status, found):
    if root.tag != "Response":
        found.append(f"error root is {root.tag!r}, not Response without a namespace")
        return
    if [child.tag for child in root] != ["Errors", "RequestID"]:
        found.append(f"error envelope holds {[child.tag for child in root]}")
        return
    errors, request_id = root
    if not (request_id.text or "").strip():
        found.append("RequestID is empty")
    if [child.tag for child in errors] != ["Error"]:
        found.append(f"Errors holds {[child.tag for child in errors]}")
        return
    error = errors[0]
    if [child.tag for child in error] != ["Code", "Message"]:
        found.append(f"Error holds {[child.tag for child in error]}")
        return
    code, message = error[0].text or "", error[1].text or ""
    if not re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", code):
        found.append(f"error code is {code!r}")
    if not message:
        found.append(f"error {code} has no message")
    wanted = {
        "UnauthorizedOperation": 403,
        "SignatureDoesNotMatch": 403,
        "RequestLimitExceeded": 503,
        "AuthFailure": 401,
        "DryRunOperation": 412,
    }
    if status != wanted.get(code, status if status in (500, 503) else 400):
        found.append(f"error {code} came with status {status}")


def _members(shape, elements, path, found):
    wire = {_wire_name(name, member): member for name, member in shape.members.items()}
    seen = set()
    for element in elements:
        name = _split(element.tag)[1]
        here = f"{path}.{name}"
        if _split(element.tag)[0] != NAMESPACE:
            found.append(f"{here}: wrong namespace")
        if element.attrib:
            found.append(f"{here}: has attributes")
        if name not in wire:
            found.append(f"{here}: the model has no such member of {shape.name}")
            continue
        if name in seen:
            found.append(f"{here}: comes twice (a list without its wrapper?)")
        seen.add(name)
        _value(wire[name], element, here, found)
    for required in shape.required_members:
        if _wire_name(required, shape.members[required]) not in seen:
            found.append(f"{path}: required member {required} is missing")


def _value(shape, element, path, found):
    kind = shape.type_name
    text = element.text or ""
    if kind in ("structure", "list") and (text.strip() or any((child.tail or "").strip() for child in element)):
        found.append(f"{path}: has text, but is a {kind}")
    if kind == "structure":
        _members(shape, list(element), path, found)
        return
    if kind == "list":
        item = shape.member.serialization.get("name", "item")
        for number, child in enumerate(element, 1):
            if _split(child.tag) != (NAMESPACE, item):
                found.append(f"{path}: list holds {child.tag} where {item} belongs")
                continue
            _value(shape.member, child, f"{path}[]", found)
        return
    if len(element):
        found.append(f"{path}: is a {kind}, but holds elements")
        return
    if kind == "string":
        if shape.enum and text not in shape.enum and (shape.name, text) not in BEYOND_THE_ENUM:
            found.append(f"{path}: {text!r} is not a {shape.name}")
    elif kind == "boolean":
        if text not in ("true", "false"):
            found.append(f"{path}: {text!r} is not a boolean")
    elif kind in ("integer", "long"):
        if not re.fullmatch(r"-?\d+", text):
            found.append(f"{path}: {text!r} is not an integer")
    elif kind in ("double", "float"):
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):
            found.append(f"{path}: {text!r} is not a number")
    elif kind == "timestamp":
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", text):
            found.append(f"{path}: {text!r} is not a timestamp")
        else:
            try:
                datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
            except ValueError as error:
                found.append(f"{path}: {text!r}: {error}")
    else:
        found.append(f"{path}: no rule here for a {kind}")


def _wire_name(member, shape):
    return shape.serialization.get("name", member)


def _split(tag):
    if tag.startswith("{"):
        namespace, name = tag[1:].split("}", 1)
        return namespace, name
    return "", tag


def self_test(service):
    """Shows that the checks above can fail: each broken answer must be reported. Returns what went unreported."""
    head = f'<DescribeNetworkInterfacesResponse xmlns="{NAMESPACE}"><requestId>r</requestId>'
    tail = "</DescribeNetworkInterfacesResponse>"

    def eni(inside):
        return f"{head}<networkInterfaceSet><item>{inside}</item></networkInterfaceSet>{tail}"

    error = "<Response><Errors><Error><Code>{}</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>"
    good = [
        (200, eni("<status>pending</status><attachment><deviceIndex>1</deviceIndex></attachment>")),
        (400, error.format("InvalidParameterValue")),
        (503, error.format("RequestLimitExceeded")),
    ]
    bad = [
        (200, "<oops"),
        (200, f"{head}{tail}"),
        (200, eni("<colour>red</colour>")),
        (200, eni("<status>gone</status>")),
        (200, eni("<sourceDestCheck>yes</sourceDestCheck>")),
        (200, eni("<attachment><deviceIndex>one</deviceIndex></attachment>")),
        (200, eni("<attachment><attachTime>yesterday</attachTime></attachment>")),
        (200, eni("<groupSet><groupId>sg-1</groupId></groupSet>")),
        (200, eni("<tagSet><member><key>a</key></member></tagSet>")),
        (200, eni("<macAddress>a</macAddress><macAddress>b</macAddress>")),
        (200, eni("<macAddress><item>a</item></macAddress>")),
        (200, eni("x").replace("networkInterfaceSet", "networkInterfaces")),
        (200, eni("").replace(NAMESPACE, "http://elsewhere/")),
        (200, eni("").replace("<requestId>r</requestId>", "")),
        (200, eni("").replace("DescribeNetworkInterfacesResponse", "DescribeSubnetsResponse")),
        (503, error.format("InvalidParameterValue").replace("503", "400")[:-11]),
        (400, error.format("UnauthorizedOperation")),
        (400, error.format("RequestLimitExceeded")),
        (400, error.format("A code with spaces")),
        (400, error.format("X").replace("Errors", "Error")),
        (400, error.format("X").replace("RequestID", "requestId")),
        (400, eni("")),
    ]
    wrong = [f"refused a good answer: {body}" for status, body in good
             if violations(service, "DescribeNetworkInterfaces", status, body)]
    wrong += [f"accepted a bad answer: {status} {body}" for status, body in bad
              if not violations(service, "DescribeNetworkInterfaces", status, body)]
    if not violations(service, "DeleteNetworkInterface", 200,
                      f'<DeleteNetworkInterfaceResponse xmlns="{NAMESPACE}"><requestId>r</requestId></DeleteNetworkInterfaceResponse>'):
        wrong.append("accepted a DeleteNetworkInterface without <return>")
    return wrong, len(good) + len(bad) + 1
