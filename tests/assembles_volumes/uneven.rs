//! Slices at unequal distances, for those who want them.

use super::*;

/// Slices 1.25 mm apart, then 1.875 mm apart, along the normal of `orientation`.
fn at_unequal_distances(orientation: [f64; 6], marker: [usize; 3]) -> CtSeries {
    let normal =
        cross([orientation[0], orientation[1], orientation[2]], [orientation[3], orientation[4], orientation[5]]);
    let mut series = CtSeries::new(orientation, [-100.5, -80.25, -300.0], [0.0; 3], 21, marker);
    let mut height = 0.0;
    for (index, slice) in series.slices.iter_mut().enumerate() {
        slice.position = std::array::from_fn(|axis| slice.position[axis] + height * normal[axis]);
        height += if index < 10 { 1.25 } else { 1.875 };
    }
    series
}

#[test]
fn slices_at_unequal_distances_stay_where_they_were_on_a_finer_grid() {
    let options = AssembleOptions { uneven_slices: true, ..AssembleOptions::default() };
    for orientation in [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], OBLIQUE] {
        for marker in [[0, 3, 7], [4, 3, 7], [10, 3, 7], [15, 3, 7], [20, 3, 7]] {
            let series = at_unequal_distances(orientation, marker);
            let mut files = series.files();
            files.rotate_left(9);
            assert_eq!(code_of(files.clone()), "variable-spacing");
            let volume = assemble(files, &options).unwrap();
            assert_eq!((volume.geometry.shape, volume.geometry.spacing), ([51, 12, 10], [0.625, 0.75, 0.5]));
            assert_marker(&series, marker, &volume);
            assert_eq!((volume.slices.iter().flatten().count(), volume.between.len()), (21, 30));
            assert_eq!(volume.missing_share, 0.0);
            let said = "mm apart; the volume has one every 0.62 mm, of which 30 of 51";
            assert!(warned(&volume, said), "{:?}", volume.warnings);
        }
    }
    let facts = Series::read(at_unequal_distances(OBLIQUE, [4, 3, 7]).files()).unwrap().facts(&options);
    let stack = facts.stack.unwrap();
    assert_eq!((stack.slices, stack.present(), stack.missing_share), (21, 21, 0.0));
    assert!((stack.spacing[0] - 1.875).abs() < 1e-6 && (stack.extent - 31.25).abs() < 1e-6);
}

#[test]
fn between_slices_at_unequal_distances_values_are_interpolated_and_lost_ones_are_missing() {
    let options = AssembleOptions { uneven_slices: true, max_missing_share: 0.1, ..AssembleOptions::default() };
    let mut series = at_unequal_distances([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [2, 3, 7]);
    for (index, slice) in series.slices.iter_mut().enumerate() {
        slice.pixels.fill((index * 100) as u16);
    }
    let Voxels::I16(values) = assemble(series.files(), &options).unwrap().voxels else { panic!() };
    let of_slice = |slot: usize| i32::from(values[slot * 120]) + 1024;
    // Slots 20 and 23 are slices 10 and 11.
    assert_eq!([0, 1, 2, 20, 21, 22, 23].map(of_slice), [0, 50, 100, 1000, 1033, 1067, 1100]);

    series.slices.remove(5);
    let mut volume = assemble(series.files(), &options).unwrap();
    assert_eq!((volume.between.len(), volume.geometry.shape[0]), (30, 51));
    assert!((volume.missing_share - 1.0 / 21.0).abs() < 1e-9);
    assert!(warned(&volume, "1 of 21 slices are missing (4.8 %)"), "{:?}", volume.warnings);
    // The first one that cannot be decoded is missing at the end, and what would lie between it and the next is not there.
    let files = series.files_with(|index, ds| {
        if index == 0 {
            ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 10]);
        }
    });
    volume = assemble(files, &options).unwrap();
    assert_eq!((&volume.between[..3], volume.geometry.shape[0]), (&[1, 3, 5][..], 49));
    assert!((volume.missing_share - 2.0 / 21.0).abs() < 1e-9);
}

#[test]
fn acquisitions_whose_slices_lie_between_each_others_are_not_mixed_on_a_finer_grid() {
    let options = AssembleOptions { uneven_slices: true, ..AssembleOptions::default() };
    let first = CtSeries::axial(12);
    let mut second = first.clone();
    for slice in &mut second.slices {
        slice.position[2] += 0.5;
        slice.id += 100;
    }
    let with = |series: &CtSeries, number: &'static str| {
        series.files_with(|_, ds| {
            ds.put_text(tags::ACQUISITION_NUMBER, VR::IS, number);
        })
    };
    let volume = assemble([with(&first, "1"), with(&second, "2")].concat(), &options).unwrap();
    assert_eq!((volume.geometry.shape[0], volume.geometry.spacing[0]), (12, 1.25));
    assert!(warned(&volume, "2 acquisitions of one region"));
}

#[test]
fn acquisitions_that_lie_one_after_the_other_are_one_series_of_slices() {
    let options = AssembleOptions { uneven_slices: true, ..AssembleOptions::default() };
    let series = at_unequal_distances([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [4, 3, 7]);
    let thickness = |index: usize| if index < 10 { "1.25" } else { "1.875" };
    let files = series.files_with(|index, ds| ds.put_text(tags::SLICE_THICKNESS, VR::DS, thickness(index)));
    assert_eq!(code_of(files.clone()), "several-acquisitions");
    let volume = assemble(files, &options).unwrap();
    assert_eq!((volume.geometry.shape[0], volume.between.len()), (51, 30));
    assert_marker(&series, [4, 3, 7], &volume);
}

#[test]
fn slices_far_away_cost_no_memory_here_either() {
    let options = AssembleOptions { uneven_slices: true, max_missing_share: 1.0, ..AssembleOptions::default() };
    let mut series = CtSeries::axial(34);
    for (index, slice) in series.slices.iter_mut().enumerate() {
        let k = index as f64;
        slice.position[2] = if index < 3 { (k - 1.0) * 987_500.0 } else { 987_500.0 + (k - 2.0) / 64.0 };
    }
    assert_eq!(refusal_of(series.files(), &options).code(), "too-large");
}
