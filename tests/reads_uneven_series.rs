//! Slices at unequal distances: read where the model says so, with results on the source frames alone.

#![cfg(feature = "torch")]

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::{VR, tags};

use crate::testkit::chest::Series;
use crate::testkit::phantom::decimals;
use crate::testkit::receiver::{Receiver, Sent, eventually};
use crate::testkit::site::Site;

/// A chest of which every second slice is left out above the twentieth: 4 mm apart, then 8 mm.
fn uneven(chest: &Series) -> Vec<Bytes> {
    let nearer = |ds: &mut DataSet| {
        let place = ds.text(tags::IMAGE_POSITION_PATIENT).unwrap();
        let mut place: Vec<f64> = place.split('\\').map(|number| number.parse().unwrap()).collect();
        place[2] /= 2.0;
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&place));
    };
    let all = chest.files_with(nearer).into_iter().enumerate();
    all.filter(|(index, _)| *index < 20 || index % 2 == 0).map(|(_, file)| file).collect()
}

async fn delivered(receiver: &Receiver, sop_class: &str) -> Sent {
    let sent = async || receiver.taken().into_iter().find(|sent| sent.sop_class == sop_class);
    eventually("the result", sent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_lie_on_the_source_frames_and_the_report_says_how_far_they_are_apart() {
    let receiver = Receiver::start();
    let says =
        [("largest_missing_share = 0.1", "uneven_slices = true"), ("[golden]\ncase = \"golden/case.npz\"\n", "")];
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with("results.allow_untrained", "true")
        .with_changed_model("good", &says)
        .with_route("good", &["PACS"], "");
    let node = site.start().await;
    let chest = Series { slices: 40, ..Series::chest("uneven") };
    node.push("CT1", &uneven(&chest)).await;
    let line = node.logged("job done", 1).await.remove(0);
    assert_eq!((&line["outcome"], &line["missing_percent"]), (&"read".into(), &0.0.into()), "{line}");

    let report = delivered(&receiver, uids::COMPREHENSIVE3_DSR_STORAGE).await;
    let said = String::from_utf8_lossy(&report.data_set).into_owned();
    assert!(
        said.contains("Slices are 4.00 to 8.00 mm apart; the volume has one every 4.00 mm, of which 9 of 39"),
        "{said}"
    );
    assert!(!said.contains("are missing"), "{said}");
    let mask = delivered(&receiver, uids::SEGMENTATION_STORAGE).await.header();
    let place = |slice: usize| decimals(&[-95.0, -79.0, -150.0 + 4.0 * slice as f64]);
    let there: Vec<String> = (0..40).filter(|index| *index < 20 || index % 2 == 0).map(place).collect();
    let shared = &mask.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0];
    assert!(shared.items(tags::PIXEL_MEASURES_SEQUENCE)[0].text(tags::SPACING_BETWEEN_SLICES).is_none());
    let frames = mask.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    assert!(frames.len() >= 20, "{}", frames.len());
    for frame in frames {
        let position = frame.items(tags::PLANE_POSITION_SEQUENCE)[0].text(tags::IMAGE_POSITION_PATIENT).unwrap();
        assert!(there.contains(&position), "{position}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_measures_even_slices_alone_looks_at_what_its_model_reads() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with("results.allow_untrained", "true")
        .with_model("models/lung-densitometry")
        .with_tiny_model("chest-ct-2p5d")
        .with_route("lung-densitometry", &["PACS"], "")
        .with_route("chest-ct-2p5d-tiny", &["PACS"], "");
    let node = site.start().await;
    node.push("CT1", &uneven(&Series { slices: 40, ..Series::chest("gate") })).await;
    let mut outcomes: Vec<(String, String)> = (node.logged("job done", 2).await.iter())
        .map(|line| (line["model.name"].as_str().unwrap_or_default().to_owned(), line["outcome"].to_string()))
        .collect();
    outcomes.sort();
    let outcomes: Vec<&str> = outcomes.iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!(outcomes, ["\"read\"", "\"missing-slices\""]);
}
