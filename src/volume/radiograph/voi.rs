//! Which modality values are shown dark and which bright (PS3.3 C.11.2, VOI LUT module).

use super::lookup::Lookup;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;

/// From modality values to 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Transform {
    /// By a table.
    Table(Lookup),
    /// By a window.
    Window { centre: f64, width: f64, function: Function },
    /// By a straight line from the first value to the second, which is greater.
    Range([f64; 2]),
}

/// VOI LUT Function (0028,1056).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

impl Transform {
    /// The first table or, where there is none, the first window of an image; what is wrong with those that were passed
    /// over. `negative` says whether modality values can be negative.
    pub(super) fn first(data_set: &DataSet, negative: bool) -> (Option<Self>, Vec<String>) {
        let mut warnings = Vec::new();
        if let Some(item) = data_set.items(tags::VOILUT_SEQUENCE).first() {
            match Lookup::read(item, negative).filter(|table| !table.is_flat()) {
                Some(table) => return (Some(Self::Table(table)), warnings),
                None => warnings.push("The VOI LUT of the image makes no sense and was not used.".to_owned()),
            }
        }
        let number =
            |tag| data_set.texts(tag).first().and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite());
        let named = data_set.contains(tags::WINDOW_CENTER) || data_set.contains(tags::WINDOW_WIDTH);
        let function = match data_set.text(tags::VOILUT_FUNCTION).as_deref() {
            None | Some("LINEAR") => Function::Linear,
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            Some(other) => {
                warnings.push(format!("The window's function «{other}» is not known; it was taken for LINEAR."));
                Function::Linear
            }
        };
        let window = number(tags::WINDOW_CENTER).zip(number(tags::WINDOW_WIDTH));
        let least = if function == Function::Linear { 1.0 } else { f64::MIN_POSITIVE };
        match window.filter(|(_, width)| *width >= least) {
            Some((centre, width)) => return (Some(Self::Window { centre, width, function }), warnings),
            None if named && !data_set.texts(tags::WINDOW_WIDTH).iter().all(String::is_empty) => {
                warnings.push("The window of the image makes no sense and was not used.".to_owned());
            }
            None => {}
        }
        (None, warnings)
    }

    /// The grey level of a modality value, 0 to 1.
    pub(super) fn level(&self, value: f64) -> f64 {
        match self {
            Self::Table(table) => (table.output(value) / table.full()).min(1.0),
            Self::Window { centre, width, function } => window(value, *centre, *width, *function),
            Self::Range([least, greatest]) => ((value - least) / (greatest - least)).clamp(0.0, 1.0),
        }
    }
}

/// PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with an output range of 0 to 1.
fn window(value: f64, centre: f64, width: f64, function: Function) -> f64 {
    match function {
        Function::Linear if width <= 1.0 => f64::from(u8::from(value > centre - 0.5)),
        Function::Linear => ((value - (centre - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0),
        Function::LinearExact => ((value - centre) / width + 0.5).clamp(0.0, 1.0),
        Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;

    #[test]
    fn windows_follow_the_three_functions_of_the_standard() {
        // A window of 4096 around 2048 shows 0 as black and 4095 as white.
        assert_eq!(window(0.0, 2048.0, 4096.0, Function::Linear), 0.0);
        assert_eq!(window(4095.0, 2048.0, 4096.0, Function::Linear), 1.0);
        assert_eq!(window(0.0, 2048.0, 4096.0, Function::LinearExact), 0.0);
        assert_eq!(window(2048.0, 2048.0, 4096.0, Function::LinearExact), 0.5);
        assert_eq!(window(2048.0, 2048.0, 4096.0, Function::Sigmoid), 0.5);
        assert!(window(0.0, 2048.0, 4096.0, Function::Sigmoid) > 0.1);
        assert_eq!([9.0, 9.5, 9.6].map(|value| window(value, 10.0, 1.0, Function::Linear)), [0.0, 0.0, 1.0]);
    }

    fn windowed(centre: &str, width: &str, function: &str) -> DataSet {
        let mut data_set = DataSet::new();
        data_set.put_text(tags::WINDOW_CENTER, VR::DS, centre);
        data_set.put_text(tags::WINDOW_WIDTH, VR::DS, width);
        data_set.put_text(tags::VOILUT_FUNCTION, VR::CS, function);
        data_set
    }

    #[test]
    fn the_first_window_counts_and_zeros_in_front_do_no_harm() {
        let (found, warnings) = Transform::first(&windowed("00550\\x", "001024\\7", "LINEAR"), false);
        let expected = Transform::Window { centre: 550.0, width: 1024.0, function: Function::Linear };
        assert_eq!((found, warnings.len()), (Some(expected), 0));
    }

    #[test]
    fn windows_that_make_no_sense_are_named_and_not_used() {
        for (centre, width, function) in
            [("1", "0", "LINEAR"), ("1", "-5", "SIGMOID"), ("x", "10", "LINEAR"), ("", "3", "")]
        {
            let (found, warnings) = Transform::first(&windowed(centre, width, function), false);
            assert_eq!((found, warnings.len()), (None, 1), "{centre} {width}");
        }
        let (found, warnings) = Transform::first(&windowed("", "", ""), false);
        assert_eq!((found, warnings.len()), (None, 0), "empty is absent");
        assert!(Transform::first(&windowed("1", "0.5", "SIGMOID"), false).0.is_some());
        assert_eq!(Transform::first(&windowed("1", "2", "BENT"), false).1.len(), 1);
    }
}
