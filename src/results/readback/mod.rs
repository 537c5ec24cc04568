//! Every object is read again from its bytes and compared with what was to be said, before it may leave.
//!
//! The reading side shares nothing with the writing side but the data set itself: bits are taken one by one, places are
//! computed from the text of the object, numbers from its content tree.

mod extent;

mod frames;

mod segmentation;

mod parametric_map;

mod tree;

mod findings;

mod regions;

mod words;

mod report;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::ResultError;
use super::evidence::{GENERAL_STUDY, PATIENT, PATIENT_STUDY, is_copied};
use super::request::ResultRequest;
use crate::dicom::data_set::{DataSet, Value};
use crate::dicom::parse::parse;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::{OtherUid, TransferSyntaxUid};
pub(super) use parametric_map::parametric_map;
pub(super) use report::report;
pub(super) use segmentation::segmentation;

/// What differs, in words; the caller adds which object it is.
type Checked<T = ()> = Result<T, String>;

fn of(object: &'static str) -> impl Fn(String) -> ResultError {
    move |difference| ResultError::ReadBack { object, difference }
}

fn ensure(holds: bool, difference: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(difference()) }
}

/// Reads a Part 10 file and checks what holds for every object.
fn open(request: &ResultRequest<'_>, bytes: &Bytes) -> Checked<DataSet> {
    let (meta, object) = parse_file(bytes)?;
    for (in_meta, in_object) in [
        (tags::MEDIA_STORAGE_SOP_CLASS_UID, tags::SOP_CLASS_UID),
        (tags::MEDIA_STORAGE_SOP_INSTANCE_UID, tags::SOP_INSTANCE_UID),
    ] {
        let agree = meta.text(in_meta).is_some() && meta.text(in_meta) == object.text(in_object);
        ensure(agree, || format!("{in_meta} and {in_object} do not agree"))?;
    }
    check_own_uids(&object)?;
    check_identity(request, &object)?;
    Ok(object)
}

/// PS3.10 section 7.1: preamble, prefix, file meta information with its length first.
fn parse_file(bytes: &Bytes) -> Checked<(DataSet, DataSet)> {
    const GROUP_LENGTH_END: usize = 132 + 12;
    ensure(bytes.get(128..132) == Some(b"DICM"), || "there is no DICM prefix".into())?;
    let group_length = bytes
        .get(GROUP_LENGTH_END - 4..GROUP_LENGTH_END)
        .and_then(|value| value.try_into().ok())
        .map_or(usize::MAX, |value| u32::from_le_bytes(value) as usize);
    let end = GROUP_LENGTH_END.saturating_add(group_length);
    ensure(end <= bytes.len(), || "the file meta information is longer than the file".into())?;
    let readable = |e: crate::dicom::parse::ParseError| e.to_string();
    let meta = parse(&bytes.slice(132..end), Encoding::ExplicitLe).map_err(readable)?;
    let syntax = meta.uid(tags::TRANSFER_SYNTAX_UID, TransferSyntaxUid::parse).map_err(|e| e.to_string())?;
    let object = parse(&bytes.slice(end..), Encoding::of(&syntax)).map_err(readable)?;
    Ok((meta, object))
}

/// Every UID obeys PS3.5 section 9.1, but for those that were copied from the source: they are its maker's.
fn check_own_uids(object: &DataSet) -> Checked {
    let copied = |tag: &Tag| {
        [PATIENT, GENERAL_STUDY, PATIENT_STUDY].into_iter().flatten().any(|copied| copied == tag)
            || *tag == tags::REFERENCED_REQUEST_SEQUENCE
    };
    let mut own = DataSet::new();
    for element in object.elements().iter().filter(|element| !copied(&element.tag)) {
        own.put(element.tag, element.vr, element.value.clone());
    }
    check_uids(&own)
}

/// At any depth.
fn check_uids(data_set: &DataSet) -> Checked {
    for element in data_set.elements() {
        match &element.value {
            Value::Items(items) => items.iter().try_for_each(check_uids)?,
            Value::Bytes(_) if element.vr == VR::UI => {
                for uid in data_set.texts(element.tag) {
                    OtherUid::parse(&uid).map_err(|e| format!("{}: {e}", element.tag))?;
                }
            }
            Value::Bytes(_) | Value::Fragments(_) => {}
        }
    }
    Ok(())
}

/// Patient and study as in the source, to the byte; identifiers of its own.
fn check_identity(request: &ResultRequest<'_>, object: &DataSet) -> Checked {
    let header = &request.source.header;
    let copied = [PATIENT, GENERAL_STUDY, PATIENT_STUDY].into_iter().flatten();
    for tag in copied {
        let same = match header.element(*tag).filter(|_| is_copied(header, *tag)) {
            Some(element) => object.element(*tag).is_some_and(|written| same_value(&written.value, &element.value)),
            None => object.bytes(*tag).is_none_or(Bytes::is_empty),
        };
        ensure(same, || format!("{tag} is not what the source has"))?;
    }
    check_character_set(request, object)?;
    let is = |tag: Tag, uid: &str| object.text(tag).as_deref() == Some(uid);
    ensure(is(tags::STUDY_INSTANCE_UID, request.source.study_instance_uid.as_str()), || {
        "it is of another study".into()
    })?;
    ensure(!is(tags::SERIES_INSTANCE_UID, request.source.series_instance_uid.as_str()), || {
        "it is in the series of the source".into()
    })?;
    let of_source = |(_, uid): &(_, crate::dicom::uid::SopInstanceUid)| is(tags::SOP_INSTANCE_UID, uid.as_str());
    ensure(!request.source.instances.iter().any(of_source), || "it has the UID of a source instance".into())
}

/// The repertoire is the source's, or Unicode where all that was copied is in ASCII and reads the same in it.
fn check_character_set(request: &ResultRequest<'_>, object: &DataSet) -> Checked {
    let header = &request.source.header;
    let (written, source) = (object.texts(tags::SPECIFIC_CHARACTER_SET), header.texts(tags::SPECIFIC_CHARACTER_SET));
    if written == source {
        return Ok(());
    }
    let mut copied = [PATIENT, GENERAL_STUDY, PATIENT_STUDY].into_iter().flatten();
    let ascii = copied.all(|tag| header.bytes(*tag).is_none_or(|bytes| bytes.is_ascii() && !bytes.contains(&0x1B)));
    ensure(ascii && written == ["ISO_IR 192"], || format!("the character set {written:?} is not that of the source"))
}

/// Equal but for the padding that makes a value even.
fn same_value(written: &Value, source: &Value) -> bool {
    match (written, source) {
        (Value::Bytes(written), Value::Bytes(source)) => {
            written == source
                || (source.len() % 2 == 1 && written.strip_suffix(&written[source.len()..]) == Some(source))
        }
        (Value::Items(written), Value::Items(source)) => {
            written.len() == source.len() && written.iter().zip(source).all(|(w, s)| same_items(w, s))
        }
        _ => false,
    }
}

fn same_items(written: &DataSet, source: &DataSet) -> bool {
    let (written, source) = (written.elements(), source.elements());
    written.len() == source.len()
        && written.iter().zip(source).all(|(w, s)| w.tag == s.tag && same_value(&w.value, &s.value))
}

/// The Referenced Series Sequence names the source series and all its instances, in order.
fn check_references(request: &ResultRequest<'_>, object: &DataSet) -> Checked {
    let series = object.items(tags::REFERENCED_SERIES_SEQUENCE).first().ok_or("no source series is referenced")?;
    let uid = series.text(tags::SERIES_INSTANCE_UID);
    ensure(uid.as_deref() == Some(request.source.series_instance_uid.as_str()), || {
        "another series is referenced".into()
    })?;
    let referenced = series.items(tags::REFERENCED_INSTANCE_SEQUENCE).iter();
    let referenced: Vec<_> = referenced.filter_map(|item| item.text(tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    let instances = request.source.instances.iter().map(|(_, uid)| uid.as_str());
    ensure(referenced.iter().map(String::as_str).eq(instances), || "other instances are referenced".into())
}

#[cfg(test)]
mod tests;
