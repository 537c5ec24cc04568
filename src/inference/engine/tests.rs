use super::*;

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
