"""Runs a command beside an S3-compatible store, with the store's address in the environment: store.py COMMAND..."""

import logging
import os
import subprocess
import sys
import threading

import boto3
from moto.s3 import responses
from moto.server import ThreadedMotoServer

BUCKET = "lake"

logging.getLogger("werkzeug").setLevel(logging.ERROR)
# moto checks for an existing object and writes in two steps; a real store is atomic, so puts run one at a time here.
put, one_at_a_time = responses.S3Response.put_object, threading.Lock()


def put_alone(*arguments):
    with one_at_a_time:
        return put(*arguments)


responses.S3Response.put_object = put_alone

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ |= {
    "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    "AWS_ACCESS_KEY_ID": "writer",
    "AWS_SECRET_ACCESS_KEY": "do-not-show-this",
    "AWS_REGION": "us-east-1",
    "VATIC_TEST_STORE": f"s3://{BUCKET}",
}
boto3.client("s3").create_bucket(Bucket=BUCKET)
code = subprocess.call(sys.argv[1:])
server.stop()
sys.exit(code)
