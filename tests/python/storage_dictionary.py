"""storage_dictionary.py: pydicom's dictionary of UIDs (PS3.6 annex A), retired ones included: a line `class UID` for each SOP
class with «Storage» in its name, and a line `syntax UID` for each transfer syntax."""

from pydicom._uid_dict import UID_dictionary

for uid, (name, kind, *_) in UID_dictionary.items():
    if kind == "SOP Class" and "Storage" in name:
        print("class", uid)
    elif kind == "Transfer Syntax":
        print("syntax", uid)
