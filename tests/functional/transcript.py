# SPDX-License-Identifier: Apache-2.0
"""Golden files of commands: what stands in them, and how a command's words become a part of one.

With the environment variable ``KONGMING_RENEW`` they are written anew. Read what has changed in them as an operator
would, before it is committed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import referencing

from kongming_sched.schemas import load_schema, schema_names
from tests.functional.cli.shell import Done

_REGISTRY: referencing.Registry = referencing.Registry().with_resources(
    (f"urn:kongming:{name}", referencing.Resource.from_contents(load_schema(name))) for name in schema_names()
)
_CLIFFS = re.compile(r"\n\noutput formatters:\n.*?(?=\n\nThis command|\Z)", re.DOTALL)
"""The part of a help text that cliff writes."""


def transcript(line: str, done: Done) -> str:
    """A command and what became of it."""
    text = f"$ {line}".rstrip() + "\n"
    text += _CLIFFS.sub("", done.out.removesuffix("\n"))
    text += "\n" if done.out.strip("\n") else ""
    text += "".join(f"! {error}\n" for error in done.err.splitlines())
    return text + (f"exit code {done.code}\n" if done.code else "") + "\n"


def check_schema(name: str, words: str, done: Done) -> None:
    """What is printed as JSON is valid by the schema of this name, and is nothing else."""
    if re.search(r"(-f|--format) json$", words) and (done.out or not done.code):
        schema = load_schema(f"{name}-v1")
        jsonschema.Draft202012Validator(schema, registry=_REGISTRY).validate(json.loads(done.out))


def golden(path: Path, text: str) -> str:
    """What a golden file holds; this text, if it is to be written anew."""
    if "KONGMING_RENEW" in os.environ:
        path.write_text(text)
    return path.read_text()
