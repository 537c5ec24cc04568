"""Asks a node by C-FIND at every level of both models and says what came, one line each.

    asks_at_every_level.py PORT
"""
import sys
import time
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (PatientRootQueryRetrieveInformationModelFind as PATIENT,
                                  StudyRootQueryRetrieveInformationModelFind as STUDY)

ae = AE()
ae.add_requested_context(PATIENT)
ae.add_requested_context(STUDY)
assoc = ae.associate("127.0.0.1", int(sys.argv[1]), ae_title="OVERREAD")

def ask(model, level, **keys):
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 144"
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    # Once its own thread waits: pynetdicom takes it for waiting while it has yet to begin, and then that thread takes answers away.
    assoc._reactor_checkpoint.clear()
    while not assoc._reactor_checkpoint._cond._waiters:
        time.sleep(0.001)
    answers = list(assoc.send_c_find(identifier, model))
    names = {str(found.get("PatientName", "")) for _, found in answers[:-1]}
    print(level, len(answers) - 1, f"{answers[-1][0].Status:04X}", *sorted(names))

study = dict(StudyInstanceUID="1.9.9")
ask(PATIENT, "PATIENT", PatientName="иванов*", PatientID="")
ask(PATIENT, "STUDY", PatientID="BIG", PatientName="", StudyInstanceUID="")
ask(STUDY, "STUDY", PatientName="", **study)
ask(STUDY, "SERIES", Modality="", SeriesInstanceUID="", **study)
ask(STUDY, "SERIES", Modality="SR", SeriesInstanceUID="", **study)
ask(STUDY, "IMAGE", SeriesInstanceUID="1.9.9.1", SOPInstanceUID="", **study)
ask(STUDY, "IMAGE", SeriesInstanceUID="1.9.9.1", SOPInstanceUID=["1.9.9.3.1", "1.9.9.3.2", "1.2"], **study)
ask(STUDY, "PATIENT", PatientID="")
assoc.release()
