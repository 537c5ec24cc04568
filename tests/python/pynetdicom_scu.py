"""pynetdicom as the one who asks.

    pynetdicom_scu.py PORT echo [NEGOTIATION...]            C-ECHO; what the node answered to each proposal
    pynetdicom_scu.py PORT store [NEGOTIATION...] FILE...   C-STORE; the statuses
    pynetdicom_scu.py PORT find MODEL [KEY=VALUE...]        C-FIND; the answers as pydicom reads them
    pynetdicom_scu.py PORT cancel [KEY=VALUE...]            C-FIND, cancelled before an answer is read

NEGOTIATION: --max-pdu N, --window N (asynchronous operations), --extended, --user NAME, --role, --duplicates.
Prints one JSON object."""

import argparse
import json
import socket
import threading
import time

import pydicom
from pydicom.datadict import DicomDictionary
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

MODELS = {"study": StudyRootQueryRetrieveInformationModelFind, "patient": PatientRootQueryRetrieveInformationModelFind}
PLAIN = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
# The smallest receive buffer that the kernel gives: the node's answers then wait for the reader.
SMALL_BUFFER = 4096


def negotiation(a):
    """Items of user information that the node may ignore, and must not stumble on."""
    items = []
    if a.window is not None:
        item = AsynchronousOperationsWindowNegotiation()
        item.maximum_number_operations_invoked = item.maximum_number_operations_performed = a.window
        items.append(item)
    if a.extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = StudyRootQueryRetrieveInformationModelFind
        item.service_class_application_information = b"\x01\x01\x01\x01\x01"
        items.append(item)
        item = SOPClassCommonExtendedNegotiation()
        item.sop_class_uid = CTImageStorage
        item.service_class_uid = "1.2.840.10008.4.2"
        item.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.88.22"]
        items.append(item)
    if a.user is not None:
        item = UserIdentityNegotiation()
        item.user_identity_type = 1
        item.primary_field = a.user.encode()
        item.positive_response_requested = True
        items.append(item)
    if a.role:
        item = SCP_SCU_RoleSelectionNegotiation()
        item.sop_class_uid = CTImageStorage
        item.scu_role = item.scp_role = True
        items.append(item)
    return items


def associate(a, contexts, handlers=()):
    ae = AE("PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 60
    association = ae.associate("127.0.0.1", a.port, contexts, "OVERREAD", max_pdu=a.max_pdu, ext_neg=negotiation(a),
                               evt_handlers=list(handlers))
    assert association.is_established, (association.is_rejected, association.is_aborted)
    return association


def quiet(association):
    """The association once its own thread waits: pynetdicom takes it for waiting while it has yet to begin, and then that thread takes
    the answer away."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    while not checkpoint._cond._waiters:
        time.sleep(0.001)
    return association


def said(association):
    """What the node answered to the proposals."""
    acceptor = association.acceptor
    return {
        "contexts": {c.context_id: [c.abstract_syntax, c.transfer_syntax[0]] for c in association.accepted_contexts},
        "rejected": [c.context_id for c in association.rejected_contexts],
        "maximum_length": acceptor.maximum_length,
        "window": list(acceptor.asynchronous_operations),
        "implementation": str(acceptor.implementation_class_uid),
        "version": acceptor.implementation_version_name,
        "roles": {str(uid): [r.scu_role, r.scp_role] for uid, r in acceptor.role_selection.items()},
    }


def echo(a):
    # Alone, in one context after the other, and three times the same: each is negotiated for itself.
    contexts = [build_context(Verification, syntax) for syntax in PLAIN] + [build_context(CTImageStorage, PLAIN)]
    contexts += [build_context(Verification, PLAIN) for _ in range(3 if a.duplicates else 0)]
    association = associate(a, contexts)
    statuses = [quiet(association).send_c_echo().Status for _ in range(3)]
    answer = {"statuses": statuses, **said(association)}
    association.release()
    return answer


def store(a):
    files = [pydicom.dcmread(path) for path in a.rest]
    proposed = sorted({(f.SOPClassUID, f.file_meta.TransferSyntaxUID) for f in files})
    association = associate(a, [build_context(abstract, syntax) for abstract, syntax in proposed])
    statuses = [quiet(association).send_c_store(f).Status for f in files]
    answer = {"statuses": statuses, **said(association)}
    association.release()
    return answer


def identifier(keys):
    """KEY=VALUE in the order given; text is written in the character set that comes first."""
    asked = pydicom.Dataset()
    for key in keys:
        name, _, value = key.partition("=")
        setattr(asked, name, value)
    return asked


def found(response):
    return {e.keyword: str(e.value) if e.VM < 2 else [str(v) for v in e.value] for e in response}


def find(a):
    model, *keys = a.rest
    association = associate(a, [build_context(MODELS[model], syntax) for syntax in PLAIN])
    answers, statuses = [], []
    for status, response in quiet(association).send_c_find(identifier(keys), MODELS[model]):
        statuses.append(status.Status)
        if response is not None:
            # Decodes every text by the answer's own character set.
            response.decode()
            answers.append(found(response))
    association.release()
    return {"answers": answers, "statuses": statuses}


def cancel(a):
    cancelling = threading.Event()

    def small(event):
        event.assoc.dul.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)

    def hold(event):
        # The thread that reads also sends, and sends first: what is asked by now leaves before the next is read.
        if isinstance(event.pdu, P_DATA_TF):
            cancelling.wait()

    model = MODELS["study"]
    contexts = [build_context(model, PLAIN), build_context(Verification, PLAIN)]
    association = associate(a, contexts, [(evt.EVT_CONN_OPEN, small), (evt.EVT_PDU_RECV, hold)])
    asked = identifier(a.rest)
    # Keys that come back empty make the answers longer than all buffers on the way.
    for tag, (vr, *_) in DicomDictionary.items():
        if tag >> 16 == 0x0018 and vr == "DS":
            asked.add_new(tag, vr, "")
    answers = quiet(association).send_c_find(asked, model, msg_id=7)
    association.send_c_cancel(7, query_model=model)
    cancelling.set()
    statuses = [status.Status for status, _ in answers]
    # The association is as good as before.
    again = quiet(association).send_c_echo().Status
    association.release()
    return {"pending": len(statuses) - 1, "final": statuses[-1], "echo": again}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--max-pdu", type=int, default=16382)
    parser.add_argument("--window", type=int)
    parser.add_argument("--extended", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--role", action="store_true")
    parser.add_argument("--duplicates", action="store_true")
    parser.add_argument("command", choices=["echo", "store", "find", "cancel"])
    parser.add_argument("rest", nargs="*")
    a = parser.parse_intermixed_args()
    print(json.dumps({"echo": echo, "store": store, "find": find, "cancel": cancel}[a.command](a)))


if __name__ == "__main__":
    main()
