"""boto3 clients of the box and of moto, and a recorder of every raw answer that they get."""

import json
import time
import os
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

REGION = "us-west-2"


def scrub_environment():
    """Takes this machine's own AWS settings and proxies out of the environment, for this process and its children."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]
    os.environ.update(
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_PAGER="",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )


def ec2_client(url, attempts=1, validate=True):
    """An EC2 client of boto3 as anyone would make it, with another endpoint.

    Without `validate` it sends what EC2 itself has to refuse.
    """
    session = boto3.Session(aws_access_key_id="AKIACONFORMANCE00000", aws_secret_access_key="secret", region_name=REGION)
    return session.client("ec2", endpoint_url=url, config=client_config(attempts, validate))


def client_config(attempts, validate=True):
    return Config(parameter_validation=validate, retries={"total_max_attempts": attempts, "mode": "standard"}, connect_timeout=5, read_timeout=30)


class Recorder:
    """Keeps (operation, status, raw body) of every answer that a client gets, before botocore parses it."""

    def __init__(self):
        self.answers = []

    def watch(self, client):
        client.meta.events.register("before-parse.ec2", self._keep)
        return client

    def _keep(self, operation_model, response_dict, **_):
        self.answers.append((operation_model.name, response_dict["status_code"], response_dict["body"]))


class Admin:
    """The box's admin interface."""

    def __init__(self, url):
        self.url = url

    def __call__(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


def send_raw(url, parameters, authorization=None):
    """Sends a form as it is; returns status and body."""
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    if authorization:
        headers["Authorization"] = authorization
        headers["X-Amz-Date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    request = urllib.request.Request(url, data=parameters.encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
