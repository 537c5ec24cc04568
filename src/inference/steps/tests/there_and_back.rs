//! Scores come back to where the model saw what they speak of.

use tch::{Device, Kind, Tensor};

use super::super::choice::Choice;
use super::super::*;
use super::{NONE, arrays, cubic, difference, linear, tensor};
use crate::inference::orientation::{Axes, Reorientation};
use crate::volume::Geometry;

fn whole_to(before: &[usize], after: &[usize], method: Interpolation) -> Field {
    let extents: Vec<i64> = before.iter().map(|extent| *extent as i64).collect();
    let values = Tensor::zeros(&extents, (Kind::Float, Device::Cpu));
    let step = Step::Resize { size: after.to_vec(), method };
    apply(values, &vec![1.0; before.len()], &[step]).unwrap().field
}

#[test]
fn what_was_resized_comes_back_as_pytorch_would_bring_it() {
    let arrays = arrays("volumes");
    let scores = tensor(&arrays["scores"]);
    let edges = whole_to(&[7, 10, 9], &[5, 6, 12], linear(false, NONE));
    let corners = whole_to(&[7, 10, 9], &[5, 6, 12], linear(true, NONE));
    for (name, field, mode) in [
        ("back-linear", &edges, Back::Linear),
        ("back-corners", &corners, Back::Linear),
        ("back-nearest", &edges, Back::Nearest),
    ] {
        let found = back(&scores, field, mode, 0.0).unwrap();
        assert!(difference(&found, &tensor(&arrays[name])) < 1e-5, "{name}");
    }
    let labels = argmax_back(&scores, &edges).unwrap();
    let expected = tensor(&arrays["back-linear"]).argmax(0, false);
    assert_eq!(labels.kind(), Kind::Uint8);
    assert_eq!(difference(&labels, &expected), 0.0);
}

#[test]
fn nothing_of_the_filling_comes_back() {
    let arrays = arrays("volumes");
    let scores = tensor(&arrays["scores"]);
    let steps = [
        Step::Resize { size: vec![4, 5, 10], method: linear(false, NONE) },
        Step::Fit { size: vec![5, 6, 12], value: -1.0 },
    ];
    let volume = Tensor::zeros([7, 10, 9], (Kind::Float, Device::Cpu));
    let field = apply(volume, &[1.0; 3], &steps).unwrap().field;
    let found = back(&scores, &field, Back::Linear, 0.0).unwrap();
    assert!(difference(&found, &tensor(&arrays["back-filled"])) < 1e-5);
}

#[test]
fn patches_come_back_onto_the_image() {
    let arrays = arrays("images");
    let field = whole_to(&[15, 23], &[518, 518], cubic(false, Antialias::Kernel)).coarse(&[4, 5]).unwrap();
    let found = back(&tensor(&arrays["patches"]), &field, Back::Linear, 0.0).unwrap();
    assert!(difference(&found, &tensor(&arrays["back-patches"])) < 1e-5);
}

#[test]
fn where_the_model_did_not_look_stands_what_was_asked_for() {
    let values = Tensor::zeros([6, 8, 10], (Kind::Float, Device::Cpu));
    let field = apply(values, &[1.0; 3], &[Step::Fit { size: vec![2, 4, 4], value: 0.0 }]).unwrap().field;
    let scores = Tensor::ones([2, 2, 4, 4], (Kind::Float, Device::Cpu));
    let found = back(&scores, &field, Back::Linear, -7.0).unwrap();
    assert_eq!(found.size(), [2, 6, 8, 10]);
    let inside = found.narrow(1, 2, 2).narrow(2, 2, 4).narrow(3, 3, 4);
    assert_eq!(inside.eq(1.0).sum(Kind::Int64).int64_value(&[]), 2 * 2 * 4 * 4);
    assert_eq!(found.eq(-7.0).sum(Kind::Int64).int64_value(&[]), 2 * (6 * 8 * 10 - 2 * 4 * 4));
    let second_wins = Tensor::cat(&[&scores.narrow(0, 0, 1), &(scores.narrow(0, 1, 1) + 1.0)], 0);
    let labels = argmax_back(&second_wins, &field).unwrap();
    assert_eq!(labels.sum(Kind::Int64).int64_value(&[]), 2 * 4 * 4);
    let labels = Tensor::ones([1, 2, 4, 4], (Kind::Uint8, Device::Cpu));
    let found = back(&labels, &field, Back::Nearest, 0.0).unwrap();
    assert_eq!((found.kind(), found.sum(Kind::Int64).int64_value(&[])), (Kind::Uint8, 2 * 4 * 4));
}

#[test]
fn the_likeliest_channel_is_chosen_among_those_that_reach_their_threshold() {
    let values = Tensor::zeros([1, 2, 6], (Kind::Float, Device::Cpu));
    let field = apply(values, &[1.0; 3], &[Step::Fit { size: vec![1, 2, 5], value: 0.0 }]).unwrap().field;
    let probabilities = [
        // Channel 1, then 2, each two rows of five.
        [0.5f32, 0.9, 0.2, 0.6, 0.0, 0.49, 0.1, 0.8, 0.1, 0.5],
        [0.8, 0.7, 0.6, 0.6, 0.0, 0.69, 0.7, 0.8, 0.75, 0.5],
    ];
    let probabilities = Tensor::from_slice(&probabilities.concat()).view([2, 1, 2, 5]);
    let labels = likeliest_back(&probabilities, &field, &[0.5, 0.7]).unwrap();
    assert_eq!((labels.size(), labels.kind()), (vec![1, 2, 6], Kind::Uint8));
    let labels: Vec<u8> = Vec::try_from(labels.view([-1])).unwrap();
    // The first column was cut off: nothing was looked for there.
    assert_eq!(labels, [0, 2, 1, 0, 1, 0, 0, 0, 2, 1, 2, 1]);
    assert!(likeliest_back(&probabilities, &field, &[0.5]).is_err(), "a threshold is missing");
}

#[test]
fn host_and_device_bring_back_the_same() {
    let volume = Tensor::zeros([21, 40, 33], (Kind::Float, Device::Cpu));
    let steps = [
        Step::Spacing { mm: vec![1.7, 1.1, 1.3], rounding: Rounding::Ceiling, method: linear(false, NONE) },
        Step::Fit { size: vec![24, 30, 20], value: 0.0 },
    ];
    let field = apply(volume, &[2.0, 0.9, 0.8], &steps).unwrap().field;
    let image = Field { axes: field.axes[1..].to_vec() };
    for (field, size) in [(&field, &[5, 24, 30, 20][..]), (&image, &[5, 30, 20])] {
        for kind in [Kind::Float, Kind::Half] {
            let scores = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(kind);
            let host = way::Way::new(&scores, field, Back::Linear).unwrap();
            let mut device = way::Way::new(&scores, field, Back::Linear).unwrap();
            assert!(host.on_host);
            device.on_host = false;
            let values = |way: &way::Way| {
                let mut slabs = Vec::new();
                way.slabs::<tch::TchError>(|first, slab| {
                    slabs.push((first, slab.copy()));
                    Ok(())
                })
                .unwrap();
                assert!(slabs.windows(2).all(|two| two[0].0 < two[1].0));
                Tensor::cat(&slabs.into_iter().map(|(_, slab)| slab).collect::<Vec<_>>(), 1)
            };
            let labels = |way: &way::Way, choice: &Choice| {
                let mut slabs = Vec::new();
                way.labels(choice, |_, slab| {
                    slabs.push(slab.to_kind(Kind::Uint8));
                    Ok(())
                })
                .unwrap();
                Tensor::cat(&slabs, 0)
            };
            assert!(difference(&values(&host), &values(&device)) < 1e-5);
            for choice in [Choice::Greatest, Choice::Likeliest(vec![0.1, 0.5, 0.9, 0.3, 0.7])] {
                let found = labels(&host, &choice);
                assert_eq!(difference(&found, &labels(&device, &choice)), 0.0, "{choice:?}");
                assert_eq!(found.max().int64_value(&[]), if choice == Choice::Greatest { 4 } else { 5 });
            }
        }
    }
}

#[test]
fn scores_on_another_grid_are_refused() {
    let field = Field::whole(&[4, 5]);
    for size in [&[2, 4, 6][..], &[4, 5], &[0, 4, 5]] {
        let scores = Tensor::zeros(size, (Kind::Float, Device::Cpu));
        assert!(back(&scores, &field, Back::Linear, 0.0).is_err(), "{size:?}");
        assert!(argmax_back(&scores, &field).is_err(), "{size:?}");
    }
    assert!(argmax_back(&Tensor::zeros([257, 4, 5], (Kind::Float, Device::Cpu)), &field).is_err());
}

/// An oblique grid of unequal spacing whose voxels hold the signed distance (mm) to a plane in the patient.
fn phantom() -> (Geometry, [f64; 4], Vec<f32>) {
    let (tilt, turn) = (20f64.to_radians(), 10f64.to_radians());
    let geometry = Geometry {
        shape: [34, 61, 50],
        origin: [-80.0, 35.0, 120.0],
        // Rows run to the front and slices downwards: the grid is turned before the steps.
        slice_direction: [0.0, tilt.sin(), -tilt.cos()],
        row_direction: [turn.sin(), -turn.cos() * tilt.cos(), -turn.cos() * tilt.sin()],
        column_direction: [turn.cos(), turn.sin() * tilt.cos(), turn.sin() * tilt.sin()],
        spacing: [2.5, 0.7, 1.1],
    };
    let middle = geometry.position([17.0, 30.0, 24.0]);
    let normal = [0.48, 0.6, 0.64];
    let plane = [normal[0], normal[1], normal[2], -(0..3).map(|axis| normal[axis] * middle[axis]).sum::<f64>()];
    let mut values = Vec::new();
    for z in 0..34 {
        for y in 0..61 {
            for x in 0..50 {
                values.push(distance(&geometry, plane, [z, y, x]) as f32);
            }
        }
    }
    (geometry, plane, values)
}

fn distance(geometry: &Geometry, plane: [f64; 4], index: [usize; 3]) -> f64 {
    let position = geometry.position(index.map(|i| i as f64));
    (0..3).map(|axis| plane[axis] * position[axis]).sum::<f64>() + plane[3]
}

/// Every way that a grid is resized, with how far a voxel after the steps may lie from where the field says, in its own
/// size: copies and means of whole voxels lie up to half a voxel of the coarser grid away.
fn methods() -> Vec<(Interpolation, f64)> {
    let linear = |corners, antialias| Interpolation::Linear { align_corners: corners, antialias };
    vec![
        (Interpolation::Nearest, 0.5),
        (Interpolation::NearestExact, 0.5),
        (Interpolation::Area, 0.5),
        (linear(false, NONE), 0.05),
        (linear(true, NONE), 0.05),
        (linear(false, Antialias::Gaussian), 0.05),
        (linear(true, Antialias::Gaussian), 0.05),
    ]
}

#[test]
fn a_plane_at_known_millimetres_comes_back_within_half_a_voxel() {
    let (geometry, plane, values) = phantom();
    let turn = Reorientation::to_axes(&geometry, Axes::parse("SPL").unwrap());
    assert!(!turn.is_identity());
    let [z, y, x] = turn.reorder(geometry.shape);
    let turned = Tensor::f_from_slice(&turn.apply(&values, geometry.shape)).unwrap();
    let turned = turned.f_view([z as i64, y as i64, x as i64]).unwrap();
    let mm = turn.reorder(geometry.spacing);
    let mm_after = vec![1.9, 1.0, 0.9];
    let spacing = |(method, _)| Step::Spacing { mm: mm_after.clone(), rounding: Rounding::Nearest, method };
    for step in methods().into_iter().map(spacing).chain([Step::Resample { mm: mm_after.clone() }]) {
        let steps = [
            Step::CropBody { above: -9.0, margin_mm: 1.0 },
            step.clone(),
            Step::Fit { size: vec![28, 40, 64], value: -50.0 },
        ];
        let prepared = apply(turned.shallow_clone(), &mm, &steps).unwrap();
        // The model's segment: one side of the plane, as it sees it.
        let other = prepared.values.neg();
        let scores = Tensor::cat(&[&other, &prepared.values], 0);
        let labels = argmax_back(&scores, &prepared.field).unwrap();
        let labels: Vec<u8> = Vec::try_from(labels.view([-1])).unwrap();
        let labels = turn.inverse().apply(&labels, [z, y, x]);
        let looked_at = looked_at(&prepared.field, &turn, geometry.shape);
        // Half a voxel of the larger of the two grids, along the normal of the plane.
        let tolerance = 0.5 * 2.5_f64.max(1.9);
        let (mut wrong, mut right) = (0.0_f64, 0);
        for z in 0..34 {
            for y in 0..61 {
                for x in 0..50 {
                    let at = (z * 61 + y) * 50 + x;
                    let distance = distance(&geometry, plane, [z, y, x]);
                    if looked_at[at] && (labels[at] == 1) != (distance > 0.0) {
                        wrong = wrong.max(distance.abs());
                    } else if looked_at[at] {
                        right += 1;
                    }
                }
            }
        }
        assert!(right > 20_000, "{step:?}: {right}");
        assert!(wrong < tolerance, "{step:?}: {wrong} mm");
    }
}

/// Which voxels of the source the model looked at.
fn looked_at(field: &Field, turn: &Reorientation, shape: [usize; 3]) -> Vec<bool> {
    let [z, y, x] = turn.reorder(shape);
    let mut seen = Vec::new();
    for i in 0..z {
        for j in 0..y {
            for k in 0..x {
                seen.push(field.axes.iter().zip([i, j, k]).all(|(axis, index)| axis.looked_at(index)));
            }
        }
    }
    turn.inverse().apply(&seen, [z, y, x])
}

/// Those of images.
fn image_methods() -> Vec<(Interpolation, f64)> {
    let mut all = vec![(Interpolation::Nearest, 0.5), (Interpolation::NearestExact, 0.5), (Interpolation::Area, 0.5)];
    for align_corners in [false, true] {
        for antialias in [NONE, Antialias::Kernel, Antialias::Gaussian] {
            all.extend([(linear(align_corners, antialias), 0.05), (cubic(align_corners, antialias), 0.05)]);
        }
    }
    all
}

#[test]
fn a_voxel_after_the_steps_shows_what_lies_where_the_field_says() {
    let cases = [(3, methods()), (2, image_methods())];
    for (dimensions, (method, tolerance)) in
        cases.into_iter().flat_map(|(d, methods)| methods.into_iter().map(move |m| (d, m)))
    {
        for (extent, new) in [(60, 20), (60, 25), (40, 64), (50, 49), (30, 90), (64, 32)] {
            // A ramp: each value is its own place.
            let (mut size, mut resized, mut cut) = (vec![4; dimensions], vec![4; dimensions], vec![4; dimensions]);
            (size[0], resized[0], cut[0]) = (extent, new, new - 6);
            let ramp = Tensor::arange(extent, (Kind::Float, Device::Cpu));
            let ramp = ramp.view(&[-1, 1, 1][..dimensions]).expand(&size, false);
            let steps = [Step::Resize { size: resized, method }, Step::Fit { size: cut, value: 0.0 }];
            let prepared = apply(ramp, &vec![1.0; dimensions], &steps).unwrap();
            let middle = prepared.values.flatten(2, -1).select(2, 2).view([-1]);
            let shown: Vec<f32> = Vec::try_from(middle).unwrap();
            let axis = prepared.field.axes[0];
            let coarser = axis.scale.max(1.0);
            // Kernels look beyond the ends; the middle says where a voxel lies.
            let away: Vec<f64> = (4..new - 10)
                .map(|index| (f64::from(shown[index]) - axis.scale.mul_add(index as f64, axis.offset)) / coarser)
                .collect();
            let worst = away.iter().fold(0.0_f64, |worst, away| worst.max(away.abs()));
            assert!(worst <= tolerance + 1e-4, "{method:?} {extent} to {new}: {worst}");
            let mean = away.iter().sum::<f64>() / away.len() as f64;
            assert!(mean.abs() < 0.1, "{method:?} {extent} to {new}: {mean} on average");
        }
    }
}
