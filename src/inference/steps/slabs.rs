//! Labels on the grid before the steps, from scores that come some slices at a time.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

use super::choice::Choice;
use super::field::Field;
use super::rows::{Places, Slices};
use super::way::{looked_at, places};

/// Labels that are made while the scores of a volume come, so that these are never held whole. On the host.
pub struct LabelsBack {
    choice: Choice,
    looked_at: Vec<Range<usize>>,
    /// Of the slices of the box, and how many of them are done.
    places: Places,
    done: usize,
    slices: Slices,
    /// Which slice of the grid after the steps comes next.
    next: usize,
    /// Extents before the steps, and the labels there. Their memory is the system's until they are written.
    before: [usize; 3],
    labels: Vec<u8>,
}

impl LabelsBack {
    /// As [`argmax_back`](super::argmax_back), of scores with so many channels.
    ///
    /// # Errors
    /// The field is not that of a volume, there are more than 256 channels, or memory ends.
    pub fn greatest(field: &Field, channels: usize) -> Result<Self, TchError> {
        Self::new(field, channels, Choice::Greatest)
    }

    /// As [`likeliest_back`](super::likeliest_back): one threshold a channel.
    ///
    /// # Errors
    /// The field is not that of a volume, there are more than 255 channels, or memory ends.
    pub fn likeliest(field: &Field, thresholds: &[f32]) -> Result<Self, TchError> {
        Self::new(field, thresholds.len(), Choice::Likeliest(thresholds.to_vec()))
    }

    fn new(field: &Field, channels: usize, choice: Choice) -> Result<Self, TchError> {
        let most = if choice == Choice::Greatest { 256 } else { 255 };
        let ([slices, rows, columns], true) = (&field.axes[..], (1..=most).contains(&channels)) else {
            let axes = field.axes.len();
            return Err(TchError::Shape(format!("{channels} channels on {axes} axes cannot become labels of 8 bits")));
        };
        let looked_at: Vec<Range<usize>> = field.axes.iter().map(looked_at).collect();
        let nothing = [channels as i64, 0, rows.after as i64, columns.after as i64];
        let nothing = Tensor::f_empty(nothing, (Kind::Float, Device::Cpu))?;
        let before = [slices.before, rows.before, columns.before];
        Ok(Self {
            choice,
            places: places(slices, &looked_at[0]),
            done: 0,
            slices: Slices::new(nothing, places(rows, &looked_at[1]), places(columns, &looked_at[2])),
            before,
            labels: vec![0; before.iter().product()],
            looked_at,
            next: 0,
        })
    }

    /// Takes the scores [channels, slices, rows, columns] that follow those before, the first of which is slice `first` of
    /// the grid after the steps. They are read now and never again.
    ///
    /// # Errors
    /// [`TchError`] where they do not follow.
    pub fn take(&mut self, first: usize, scores: &Tensor) -> Result<(), TchError> {
        if first != self.next {
            return Err(TchError::Shape(format!(
                "scores from slice {first} on were given, slice {} is next",
                self.next
            )));
        }
        let size = scores.size();
        let end = first + size.get(1).map_or(0, |count| usize::try_from(*count).unwrap_or(0));
        self.slices.go_on(first, scores.shallow_clone())?;
        while let Some(place) = self.places.get(self.done).filter(|(_, above, _)| *above < end) {
            let found = self.slices.labels_at(*place, &self.choice)?;
            let slice = self.looked_at[0].start + self.done;
            let rows = found.chunks_exact(self.looked_at[2].len().max(1));
            for (row, labels) in self.looked_at[1].clone().zip(rows) {
                let start = (slice * self.before[1] + row) * self.before[2] + self.looked_at[2].start;
                self.labels[start..start + labels.len()].copy_from_slice(labels);
            }
            self.done += 1;
        }
        let nothing = Tensor::f_empty([size[0], 0, size[2], size[3]], (Kind::Float, Device::Cpu))?;
        self.next = end;
        self.slices.go_on(end, nothing)
    }

    /// The labels on the grid before the steps, slice-major, once all slices were taken.
    ///
    /// # Errors
    /// [`TchError`] where slices are missing.
    pub fn labels(self) -> Result<Vec<u8>, TchError> {
        if self.done == self.places.len() {
            return Ok(self.labels);
        }
        Err(TchError::Shape(format!("scores for {} of {} slices were given", self.done, self.places.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::{Along, Positions};
    use super::super::{argmax_back, likeliest_back};
    use super::*;

    /// Scores of three channels that no two voxels share.
    fn scores(extents: [i64; 3]) -> Tensor {
        let count = 3 * extents.iter().product::<i64>();
        let values = Tensor::arange(count, (Kind::Float, Device::Cpu)).f_mul_scalar(0.7).unwrap();
        values.sin().view([3, extents[0], extents[1], extents[2]])
    }

    fn along(before: usize, after: usize) -> Along {
        Along::whole(before).resized(after, Positions::Edges)
    }

    fn in_slabs(mut labels: LabelsBack, scores: &Tensor, count: i64) -> Tensor {
        let slices = scores.size()[1];
        for first in (0..slices).step_by(usize::try_from(count).unwrap()) {
            // What was taken is overwritten by what comes next.
            let mut slab = scores.narrow(1, first, count.min(slices - first)).copy();
            labels.take(usize::try_from(first).unwrap(), &slab).unwrap();
            let _ = slab.fill_(9.0);
        }
        let size: Vec<i64> = labels.before.iter().map(|extent| *extent as i64).collect();
        Tensor::from_slice(&labels.labels().unwrap()).view(size.as_slice())
    }

    #[test]
    fn scores_in_slabs_give_the_labels_of_the_whole() {
        let coarser = [along(19, 7), along(11, 6), along(9, 5)];
        let finer = [along(4, 7), along(3, 6), along(5, 5)];
        let cut = [along(19, 9).cut(1, 7), along(11, 4).cut(-1, 6), along(9, 7).cut(1, 5)];
        for axes in [coarser, finer, cut] {
            let field = Field { axes: axes.to_vec() };
            let scores = scores([7, 6, 5]);
            let greatest = argmax_back(&scores, &field).unwrap();
            let likeliest = likeliest_back(&scores, &field, &[0.2, 0.9, 0.5]).unwrap();
            assert!(greatest.max().int64_value(&[]) > 0 && likeliest.min().int64_value(&[]) == 0);
            for count in [1, 2, 3, 7] {
                let found = in_slabs(LabelsBack::greatest(&field, 3).unwrap(), &scores, count);
                assert!(found.equal(&greatest), "{count} slices, {axes:?}");
                let found = in_slabs(LabelsBack::likeliest(&field, &[0.2, 0.9, 0.5]).unwrap(), &scores, count);
                assert!(found.equal(&likeliest), "{count} slices, {axes:?}");
            }
        }
    }

    #[test]
    fn missing_slices_are_an_error_and_no_background() {
        let field = Field { axes: vec![along(8, 4), along(4, 2), along(4, 2)] };
        let mut labels = LabelsBack::greatest(&field, 3).unwrap();
        labels.take(0, &scores([3, 2, 2])).unwrap();
        assert!(labels.labels().unwrap_err().to_string().contains("of 8 slices were given"));
        assert!(LabelsBack::greatest(&Field::whole(&[4, 4]), 3).is_err());
    }

    #[test]
    fn slices_that_do_not_follow_those_before_are_refused() {
        let field = Field { axes: vec![along(8, 4), along(4, 2), along(4, 2)] };
        let mut labels = LabelsBack::greatest(&field, 3).unwrap();
        labels.take(0, &scores([2, 2, 2])).unwrap();
        for first in [0, 1, 3] {
            let refused = labels.take(first, &scores([1, 2, 2])).unwrap_err().to_string();
            assert!(refused.contains("slice 2 is next"), "{refused}");
        }
        labels.take(2, &scores([2, 2, 2])).unwrap();
        assert_eq!(labels.labels().unwrap().len(), 8 * 4 * 4);
    }
}
