use std::time::Duration;

use super::*;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::inference::subject::Subject;
use crate::volume::{Geometry, SourceSeries, Volume, Voxels};

fn model(name: &str) -> Manifest {
    let mut model = Manifest::parse(include_str!("../../../../models/lung-densitometry/model.toml")).unwrap();
    name.clone_into(&mut model.name);
    model
}

fn source() -> SourceSeries {
    SourceSeries {
        study_instance_uid: StudyInstanceUid::parse("1.2").unwrap(),
        series_instance_uid: SeriesInstanceUid::parse("1.2.3").unwrap(),
        frame_of_reference_uid: None,
        header: DataSet::new(),
        instances: Vec::new(),
        lossy: None,
    }
}

fn series() -> SeriesToRead {
    let SourceSeries { study_instance_uid: study, series_instance_uid: series, .. } = source();
    SeriesToRead { study, series, path: "/in".to_owned(), sources: Vec::new(), repeated: 0 }
}

fn volume() -> Volume {
    Volume {
        geometry: Geometry {
            shape: [1, 1, 1],
            spacing: [1.0; 3],
            origin: [0.0; 3],
            slice_direction: [0.0, 0.0, 1.0],
            row_direction: [0.0, 1.0, 0.0],
            column_direction: [1.0, 0.0, 0.0],
        },
        voxels: Voxels::I16(vec![0]),
        slices: vec![None],
        source: source(),
        between: Vec::new(),
        missing_share: 0.0123,
        warnings: vec!["A gap.".to_owned()],
    }
}

fn predicted(prediction: Prediction) -> Result<Inferred, ReadingError> {
    Ok(Inferred::Predicted {
        described: Subject::from(volume()).described(),
        prediction: Box::new(prediction),
        forward: Duration::ZERO,
    })
}

/// A model's answer to «is anything wrong», with an uncertain band of 0.45 to 0.55.
fn pathology(probability: f64) -> Result<Inferred, ReadingError> {
    let uncertain = Some([0.45, 0.55]);
    let finding = Finding {
        label: "Pathology".to_owned(),
        concept: CodedConcept::new("1", "99TEST", "Pathology"),
        site: None,
        probability,
        threshold: 0.5,
        uncertain,
        decision: Decision::of(probability, 0.5, uncertain),
        is_pathology: true,
    };
    predicted(Prediction { findings: vec![finding], ..Prediction::of(Verdict::Suitable) })
}

fn refused(code: &'static str, reason: &str) -> Result<Inferred, ReadingError> {
    let missing_share = (code == "missing-slices").then_some(0.25);
    Ok(Inferred::NotSuitable { source: Box::new(source()), code, reason: reason.to_owned(), missing_share })
}

fn row_of(said: &[Result<Inferred, ReadingError>]) -> Row {
    let models: Vec<Manifest> = (1..=said.len()).map(|number| model(&format!("m{number}"))).collect();
    let columns = Columns::of(&models.iter().collect::<Vec<_>>());
    let answers: Vec<Answer<'_>> = models.iter().zip(said).map(|(manifest, said)| Answer { manifest, said }).collect();
    Row::of(&series(), &answers, &columns, &[])
}

#[test]
fn nothing_found_uncertain_not_suitable_and_failed_are_four_things() {
    let told = |said| {
        let row = row_of(&[said]);
        (row.probability, row.pathology, row.status())
    };
    assert_eq!(told(pathology(0.9)), (Some(0.9), "pathology", "Success"));
    assert_eq!(told(pathology(0.1)), (Some(0.1), "normal", "Success"));
    assert_eq!(told(pathology(0.55)), (Some(0.55), "uncertain", "Success"));
    assert_eq!(told(refused("gantry-tilt", "It was tilted.")), (None, "not suitable", "Success"));
    assert_eq!(told(refused("undecodable", "All are broken.")), (None, "", "Failure"));
    let cut = crate::volume::Refusal::UndescribedFrames { declared: 40, described: 13 };
    assert_eq!(told(refused(cut.code(), &cut.to_string())), (None, "", "Failure"));
    assert_eq!(told(Err(ReadingError::Unreadable)), (None, "", "Failure"));
    let verdict = Verdict::NotSuitable { code: "not-a-chest-ct".to_owned(), reason: "No lungs.".to_owned() };
    assert_eq!(told(predicted(Prediction::of(verdict))), (None, "not suitable", "Success"));
    assert_eq!(told(predicted(Prediction::of(Verdict::Suitable))), (None, "", "Success"));
}

#[test]
fn of_several_models_the_worse_answer_stands_and_each_failure_has_a_name() {
    let row = row_of(&[pathology(0.52), pathology(0.51), pathology(0.3)]);
    assert_eq!((row.probability, row.pathology), (Some(0.52), "uncertain"));
    assert_eq!(row.warnings, ["A gap.", "Pathology: uncertain (0.520).", "Pathology: uncertain (0.510)."]);
    assert_eq!(row.missing_percent, Some(1.23));

    // What one model refuses for its gaps another one may read.
    assert_eq!(row_of(&[refused("missing-slices", "Too many.")]).missing_percent, Some(25.0));
    assert_eq!(row_of(&[refused("missing-slices", "Too many."), pathology(0.1)]).missing_percent, Some(25.0));
    assert_eq!(row_of(&[refused("modality", "It is MR.")]).missing_percent, None);

    let row = row_of(&[pathology(0.9), Err(ReadingError::Unreadable), refused("modality", "It is MR.")]);
    assert_eq!((row.pathology, row.status()), ("pathology", "Failure"));
    assert_eq!(row.errors, ["m2: not one instance of the series can be read"]);
    assert_eq!(row.warnings, ["A gap."], "a model for something else has nothing to say where another one read");

    let row = row_of(&[refused("no-radiographs", "No radiographs."), pathology(0.1)]);
    assert_eq!((row.pathology, row.warnings.len()), ("normal", 1));

    let row = row_of(&[refused("modality", "It is MR."), refused("modality", "It is MR.")]);
    assert_eq!(row.warnings, ["not suitable (modality): It is MR."]);
    let row = row_of(&[Err(ReadingError::Unreadable), Err(ReadingError::Unreadable)]);
    assert_eq!(row.errors, ["not one instance of the series can be read"]);
}
