"""Makes records old, as if a moment that they tell of had been an hour ago:
age_records.py PREFIX SUFFIX FIELD STORE [--store-endpoint URL]"""

import datetime
import json
import pathlib
import sys
import urllib.parse

import boto3

prefix, suffix, field, location = sys.argv[1:5]
url = urllib.parse.urlparse(location)


def aged(text):
    record = json.loads(text)
    hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    record[field] = hour_ago.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(record)


if url.scheme == "file":
    root = pathlib.Path(url.path)
    for path in root.rglob("*" + suffix):
        if str(path.relative_to(root)).startswith(prefix):
            replacement = path.with_suffix(".aged")
            replacement.write_text(aged(path.read_text()))
            replacement.rename(path)
else:
    client = boto3.client("s3", endpoint_url=sys.argv[6])
    below = url.path.strip("/") + "/" + prefix
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=url.netloc, Prefix=below):
        for key in (item["Key"] for item in page.get("Contents", []) if item["Key"].endswith(suffix)):
            body = client.get_object(Bucket=url.netloc, Key=key)["Body"].read()
            client.put_object(Bucket=url.netloc, Key=key, Body=aged(body).encode())
