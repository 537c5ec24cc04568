#!/usr/bin/env python3
"""Makes the first inputs of the fuzz targets: small valid messages, so that the fuzzer starts beyond the first checks.

    seeds.py CORPUS_FOLDER

data_set/  pydicom's small test files, without preamble and file meta, behind a byte that names the layout
scan/      the same, behind a further byte for the size of the pieces
pdu/       association PDUs as pynetdicom encodes them
command/   DIMSE command sets, Implicit VR Little Endian
manifest/  the manifests of the model packages in this project and the commented example
"""
import sys
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (A_ASSOCIATE, ImplementationClassUIDNotification,
                                       ImplementationVersionNameNotification, MaximumLengthNotification,
                                       UserIdentityNegotiation)

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 40_000
LAYOUTS = {ImplicitVRLittleEndian: 0, ExplicitVRBigEndian: 2, DeflatedExplicitVRLittleEndian: 3}
CT = "1.2.840.10008.5.1.4.1.1.2"


def data_sets():
    """(name, bytes) of small files' data sets, each behind the byte that names its layout."""
    # The files that lie in the package itself; pydicom.data's own functions would download more.
    for path in sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm")):
        content = path.read_bytes()
        if len(content) > LARGEST or content[128:132] != b"DICM":
            continue
        meta = pydicom.filereader.read_file_meta_info(path)
        if "TransferSyntaxUID" in meta and "FileMetaInformationGroupLength" in meta:
            start = 132 + 12 + meta.FileMetaInformationGroupLength
            yield path.stem, bytes([LAYOUTS.get(meta.TransferSyntaxUID, 1)]) + content[start:]


def data_sets_in_pieces():
    for number, (name, content) in enumerate(data_sets()):
        yield name, content[:1] + bytes([number * 37 % 256]) + content[1:]


def associate(result=None):
    """The A-ASSOCIATE primitive of a request, or of an answer."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "MODALITY", "OVERREAD"
    size = MaximumLengthNotification()
    size.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.9.3811"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "SEED"
    primitive.user_information = [size, implementation, version]
    contexts = [build_context(CT), build_context("1.2.840.10008.1.1", "1.2.840.10008.1.2")]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    if result is None:
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = 2, b"reader"
        identity.secondary_field = b"secret"
        primitive.user_information += [build_role(CT, scu_role=True, scp_role=True), identity]
        primitive.presentation_context_definition_list = contexts
    else:
        for context in contexts:
            context.result = 0
            context.transfer_syntax = context.transfer_syntax[:1]
        primitive.presentation_context_definition_results_list = contexts
        primitive.result, primitive.result_source = result, 1
    return primitive


def pdus():
    request, accept = A_ASSOCIATE_RQ(), A_ASSOCIATE_AC()
    request.from_primitive(associate())
    accept.from_primitive(associate(0))
    yield "request", request.encode()
    yield "accept", accept.encode()
    yield "reject", b"\x03\0\0\0\0\x04\0\x01\x01\x07"
    yield "release", b"\x05\0\0\0\0\x04\0\0\0\0"
    yield "released", b"\x06\0\0\0\0\x04\0\0\0\0"
    yield "abort", b"\x07\0\0\0\0\x04\0\0\x02\x01"
    echo = dict(commands())["echo"]
    value = b"\x01\x03" + echo
    yield "data", b"\x04\0" + (len(value) + 4).to_bytes(4, "big") + len(value).to_bytes(4, "big") + value


def command(**elements):
    """A command set with its group length, Implicit VR Little Endian."""
    data_set = Dataset()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    out = DicomBytesIO()
    out.is_little_endian = out.is_implicit_VR = True
    write_dataset(out, data_set)
    body = out.getvalue()
    return b"\0\0\0\0\x04\0\0\0" + len(body).to_bytes(4, "little") + body


def commands():
    store = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": "1.2.3.4", "MessageID": 7}
    find = {"AffectedSOPClassUID": "1.2.840.10008.5.1.4.1.2.2.1"}
    yield "echo", command(AffectedSOPClassUID="1.2.840.10008.1.1", CommandField=0x30, MessageID=1,
                          CommandDataSetType=0x101)
    yield "store", command(**store, CommandField=1, Priority=0, CommandDataSetType=0)
    yield "move-store", command(**store, CommandField=1, Priority=0, CommandDataSetType=0,
                                MoveOriginatorApplicationEntityTitle="PACS", MoveOriginatorMessageID=3)
    yield "store-answer", command(AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3.4", CommandField=0x8001,
                                  MessageIDBeingRespondedTo=7, CommandDataSetType=0x101, Status=0xA700,
                                  ErrorComment="no space left")
    yield "find", command(**find, CommandField=0x20, MessageID=2, Priority=2, CommandDataSetType=1)
    yield "find-answer", command(**find, CommandField=0x8020, MessageIDBeingRespondedTo=2, CommandDataSetType=1,
                                 Status=0xFF00)
    yield "cancel", command(CommandField=0xFFF, MessageIDBeingRespondedTo=2, CommandDataSetType=0x101)


def manifests():
    for path in [*ROOT.glob("models/*/model.toml"), *ROOT.glob("src/inference/manifest/*.toml")]:
        yield f"{path.parent.name}-{path.stem}", path.read_bytes()


def main():
    corpus = Path(sys.argv[1])
    for target, seeds in (("data_set", data_sets()), ("scan", data_sets_in_pieces()), ("pdu", pdus()),
                          ("command", commands()), ("manifest", manifests())):
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds:
            (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
