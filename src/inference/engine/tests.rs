use super::*;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::volume::{Geometry, SourceSeries, Stack};

/// An axial stack of a series of no instances.
pub(super) fn stack(shape: [usize; 3], spacing: [f64; 3]) -> Stack {
    let geometry = Geometry {
        shape,
        spacing,
        origin: [0.0; 3],
        slice_direction: [0.0, 0.0, 1.0],
        row_direction: [0.0, 1.0, 0.0],
        column_direction: [1.0, 0.0, 0.0],
    };
    let source = SourceSeries {
        study_instance_uid: StudyInstanceUid::derived(&["study"]),
        series_instance_uid: SeriesInstanceUid::derived(&["series"]),
        frame_of_reference_uid: None,
        header: DataSet::new(),
        instances: Vec::new(),
        lossy: None,
    };
    Stack {
        geometry,
        slices: vec![None; shape[0]],
        source,
        between: Vec::new(),
        missing_share: 0.0,
        warnings: Vec::new(),
    }
}

#[test]
fn a_device_that_does_not_answer_is_lost_and_nobody_waits_for_its_thread() {
    let thread = || DeviceThread::start("test", Modules::new(Device::Cpu, None, Arc::new([]))).unwrap();
    let probed = |answer| {
        let (finish, wait) = std::sync::mpsc::channel::<()>();
        let (thread, mut state) = (thread(), State::default());
        let late = thread.call(Duration::from_millis(1), move |_| wait.recv().is_err());
        assert!(matches!(late, Err(NoAnswer::Late)));
        state.probed(thread, 0, answer);
        (finish, state)
    };
    let (finish, mut state) = probed(Err(NoAnswer::Late));
    assert_eq!((state.still_running(), state.lost.as_deref()), (1, Some("it does not answer")));
    // Would wait for the thread, which waits for `finish`.
    drop(state.thread.take());
    drop(finish);
    while state.still_running() > 0 {
        std::thread::yield_now();
    }
    for (answer, lost) in [(Ok(()), None), (Err("CUDA error".to_owned()), Some("CUDA error"))] {
        let (finish, state) = probed(Ok(answer));
        assert_eq!((state.lost.as_deref(), state.thread.is_some()), (lost, true));
        drop(finish);
    }
}
