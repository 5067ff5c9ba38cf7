"""Rewrites a node's record as if the node had last been seen an hour ago: age_node.py NODE STORE [--store-endpoint URL]"""

import datetime
import json
import pathlib
import sys
import urllib.parse

import boto3

node, location = sys.argv[1:3]
url = urllib.parse.urlparse(location)
key = f"nodes/test/{node}.json"


def aged(text):
    record = json.loads(text)
    hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    record["seenAt"] = hour_ago.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(record)


if url.scheme == "file":
    path = pathlib.Path(url.path) / key
    replacement = path.with_suffix(".aged")
    replacement.write_text(aged(path.read_text()))
    replacement.rename(path)
else:
    client = boto3.client("s3", endpoint_url=sys.argv[4])
    key = url.path.strip("/") + "/" + key
    body = client.get_object(Bucket=url.netloc, Key=key)["Body"].read()
    client.put_object(Bucket=url.netloc, Key=key, Body=aged(body).encode())
