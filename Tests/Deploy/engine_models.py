"""Run with .build/workflow-tools: reads an Argo workflow with the models of Argo's own interface, and prints what those do not know.

    engine_models.py WORKFLOW.yaml
"""

import json
import sys

import yaml
from hera.workflows import models


def unknown(document, understood, path=""):
    """Paths of what was lost or changed on the way."""
    if isinstance(document, dict):
        for key, value in document.items():
            if not isinstance(understood, dict) or key not in understood:
                yield f"{path}/{key}"
            else:
                yield from unknown(value, understood[key], f"{path}/{key}")
    elif isinstance(document, list) and isinstance(understood, list) and len(document) == len(understood):
        for number, (one, other) in enumerate(zip(document, understood)):
            yield from unknown(one, other, f"{path}/{number}")
    elif document != understood:
        yield path


def main(file):
    with open(file) as text:
        document = yaml.safe_load(text)
    workflow = models.Workflow.model_validate(document)
    print("\n".join(unknown(document, json.loads(workflow.model_dump_json(by_alias=True, exclude_none=True)))))


main(sys.argv[1])
