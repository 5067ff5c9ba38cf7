"""Prints the Authorization headers that botocore makes for the requests in a file, as a JSON list.

    sign_with_botocore.py CASES KEY_ID SECRET SECONDS_SINCE_1970
"""

import datetime
import json
import sys

import botocore.auth
import botocore.awsrequest
import botocore.credentials

path, key_id, secret, seconds = sys.argv[1:]
moment = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
found = 0
for name in ("get_current_datetime",):
    if hasattr(botocore.auth, name):
        setattr(botocore.auth, name, lambda *arguments, **options: moment.replace(tzinfo=None))
        found += 1
if not found:
    sys.exit("this botocore keeps its clock elsewhere: correct sign_with_botocore.py")

signatures = []
for case in json.load(open(path)):
    request = botocore.awsrequest.AWSRequest(
        method=case["method"], url=case["url"], headers=case["headers"], data=b"body")
    # Over plain HTTP the body is hashed and signed, as PerSSD does everywhere.
    credentials = botocore.credentials.Credentials(key_id, secret, case.get("token"))
    request.context["payload_signing_enabled"] = True
    botocore.auth.S3SigV4Auth(credentials, "s3", case["region"]).add_auth(request)
    signatures.append(request.headers["Authorization"])
print(json.dumps(signatures))
