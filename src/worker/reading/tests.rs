use super::*;
use crate::clock::Zone;
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::{Layout, encode, part10_header};
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use crate::dicom::{VR, tags};
use crate::volume::{InstanceSource, Refusal};

fn model(from: &str, to: &str) -> Manifest {
    let text = include_str!("../../inference/manifest/example.toml");
    assert!(text.contains(from));
    Manifest::parse(&text.replacen(from, to, 1)).unwrap()
}

#[test]
fn all_that_decides_a_result_is_in_the_hash_and_how_a_file_is_laid_out_is_not() {
    let writing = Writing::of(&config::Results::default());
    let (model_, same) = (model("least_slices", "least_slices"), model("least_slices", "# a word\nleast_slices"));
    let other = model("largest_missing_share = 0.05", "largest_missing_share = 0.06");
    let hash = |model: &Manifest, gate: Option<&Manifest>| configuration_hash(&writing, model, gate);
    assert_eq!(hash(&model_, None), hash(&same, None));
    let all = [hash(&model_, None), hash(&other, None), hash(&model_, Some(&model_)), hash(&model_, Some(&other))];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    // The word that is configured, not what it comes to on this day: `Local`.
    let zone = |utc_offset| Writing::of(&config::Results { utc_offset, ..config::Results::default() });
    let fixed = zone(Zone::Fixed(Zone::Local.offset_at(Timestamp(0))));
    assert_eq!(zone(Zone::Local).configuration_hash, writing.configuration_hash);
    assert_ne!(fixed.configuration_hash, writing.configuration_hash);
    let dated = writing.clone().dated(Timestamp(1));
    assert_ne!(dated.configuration_hash, writing.dated(Timestamp(2)).configuration_hash);
}

fn instance(number: u8, class: &str, patient: &str) -> InstanceSource {
    let mut ds = DataSet::new();
    let uid = format!("1.2.3.{number}");
    ds.put_uid(tags::SOP_CLASS_UID, class);
    ds.put_uid(tags::SOP_INSTANCE_UID, &uid);
    ds.put_text(tags::PATIENT_ID, VR::LO, patient);
    ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2");
    ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.3");
    let (class, uid) = (SopClassUid::parse(class).unwrap(), SopInstanceUid::parse(&uid).unwrap());
    let mut file = part10_header(&class, &uid, &TransferSyntaxUid::explicit_le(), None);
    file.extend(encode(&ds, Layout::ExplicitLe));
    InstanceSource::Memory(file.into())
}

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const RAW: &str = "1.2.840.10008.5.1.4.1.1.66";

#[test]
fn a_series_of_several_patients_has_no_report_under_one_of_them() {
    let instances = vec![instance(1, CT, "A"), instance(2, CT, "B")];
    let error = SeriesInstances::from(instances).source().unwrap_err();
    assert_eq!((error.code(), error.may_pass()), ("several-patients", false));
    assert!(matches!(error, ReadingError::Mixed(Refusal::SeveralPatients("Patient ID"))));
    let none = SeriesInstances::from(vec![InstanceSource::Memory(b"nothing"[..].into())]);
    assert!(matches!(none.source(), Err(ReadingError::Unreadable)));
}

#[test]
fn a_report_of_what_is_no_volume_names_the_images_where_there_are_some() {
    let named = |instances: Vec<InstanceSource>| {
        let source = SeriesInstances::from(instances).source().unwrap();
        source.instances.iter().map(|(_, uid)| uid.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(named(vec![instance(1, RAW, "A"), instance(2, CT, "A")]), ["1.2.3.2"]);
    assert_eq!(named(vec![instance(1, RAW, "A")]), ["1.2.3.1"]);
}
