//! The findings in sentences, for whoever reads the report before its codes.

use crate::inference::prediction::{Decision, Finding};

/// One sentence for each answer that occurs, and where the analysis is without findings one that says so.
pub(super) fn sentences(findings: &[&Finding], without_findings: bool) -> Vec<String> {
    if findings.is_empty() {
        return Vec::new();
    }
    let of = |decision| findings.iter().filter(move |f| f.decision == decision).map(|f| with_probability(f));
    let (present, uncertain, absent): (Vec<_>, Vec<_>, Vec<_>) =
        (of(Decision::Present).collect(), of(Decision::Uncertain).collect(), of(Decision::Absent).collect());
    let mut sentences = Vec::new();
    if without_findings {
        sentences.push(match findings.len() {
            1 => "Nothing found: the one finding that was looked for is absent.".to_owned(),
            count => format!("Nothing found: all {count} findings that were looked for are absent."),
        });
    }
    for (word, list) in [("Present", present), ("Undetermined", uncertain), ("Absent", absent)] {
        if !list.is_empty() {
            sentences.push(format!("{word}: {}.", list.join(", ")));
        }
    }
    sentences
}

/// To a tenth of a percent; the exact number stands in the finding's group.
fn with_probability(finding: &Finding) -> String {
    format!("{} {:.1} %", finding.label, finding.probability * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::code::CodedConcept;

    fn finding(label: &str, probability: f64) -> Finding {
        Finding {
            label: label.into(),
            concept: CodedConcept::new("1", "SCT", "x"),
            site: None,
            probability,
            threshold: 0.5,
            uncertain: Some([0.45, 0.55]),
            decision: Decision::of(probability, 0.5, Some([0.45, 0.55])),
            is_pathology: false,
        }
    }

    #[test]
    fn every_answer_has_its_sentence_and_nothing_found_is_said() {
        let (a, b, c) = (finding("Effusion", 0.873), finding("Nodule", 0.5), finding("Hernia", 0.0312));
        assert_eq!(
            sentences(&[&a, &b, &c], false),
            ["Present: Effusion 87.3 %.", "Undetermined: Nodule 50.0 %.", "Absent: Hernia 3.1 %."]
        );
        assert_eq!(
            sentences(&[&c, &c], true),
            ["Nothing found: all 2 findings that were looked for are absent.", "Absent: Hernia 3.1 %, Hernia 3.1 %."]
        );
        assert!(sentences(&[], true).is_empty());
    }
}
