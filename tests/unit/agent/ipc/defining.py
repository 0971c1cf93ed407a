# SPDX-License-Identifier: Apache-2.0
"""Defines domains in libvirt's test driver, which keeps them in the memory of this process.

It reads a list of documents as JSON and writes what libvirt makes of each: its own text of the domain, or its error.
libvirt checks each of them against its schema.
"""

from __future__ import annotations

import json
import sys

import libvirt


def main() -> None:
    """Define each document, and forget it again."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    answers = []
    for xml in json.load(sys.stdin):
        try:
            domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
            answers.append({"xml": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)})
            domain.undefine()
        except libvirt.libvirtError as error:
            answers.append({"error": str(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
