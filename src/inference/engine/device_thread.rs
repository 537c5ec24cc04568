//! One thread that owns what is on a device. Work reaches it through a channel, one piece at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::modules::Modules;
use crate::inference::error::panic_text;

/// Whether a thread was left alone since the process began.
static ABANDONED: AtomicBool = AtomicBool::new(false);

type Work = Box<dyn FnOnce(&mut Modules) + Send>;

/// A device's thread. Dropping it waits for the work at hand to end.
pub(super) struct DeviceThread {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    alive: Weak<()>,
}

/// Why a piece of work gave no answer.
pub(super) enum NoAnswer {
    /// It takes longer than it may. The thread goes on with it.
    Late,
    /// It panicked, with this message. The thread is ready for more.
    Panicked(String),
    /// The thread has ended.
    Gone,
}

impl DeviceThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub(super) fn start(name: &str, mut modules: Modules) -> std::io::Result<Self> {
        let (work, pieces) = mpsc::channel::<Work>();
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        let run = move || {
            let _alive = alive;
            // The guard holds for the thread that made it: gradients would cost three times the memory.
            let _guard = tch::no_grad_guard();
            while let Ok(piece) = pieces.recv() {
                piece(&mut modules);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(16 << 20).spawn(run)?;
        Ok(Self { work: Some(work), thread: Some(thread), alive: watch })
    }

    /// Has the thread do `work` and waits for the answer for at most `limit`.
    pub(super) fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Modules) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (answer, wait) = mpsc::sync_channel(1);
        let piece: Work = Box::new(move |modules| {
            // A module that panicked half-way through a run holds no state between runs.
            let result = catch_unwind(AssertUnwindSafe(|| work(modules)));
            // Whoever asked may have given up.
            let _ = answer.send(result);
        });
        let sent = self.work.as_ref().is_some_and(|queue| queue.send(piece).is_ok());
        if !sent {
            return Err(NoAnswer::Gone);
        }
        match wait.recv_timeout(limit) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(NoAnswer::Panicked(panic_text(&*panic).to_owned())),
            Err(RecvTimeoutError::Timeout) => Err(NoAnswer::Late),
            Err(RecvTimeoutError::Disconnected) => Err(NoAnswer::Gone),
        }
    }

    /// Lets the thread go on alone: it ends by itself once its work does. What is given tells whether it still runs.
    pub(super) fn abandon(mut self) -> Weak<()> {
        leave_alone();
        self.thread = None;
        std::mem::take(&mut self.alive)
    }
}

/// To be called where the process ends although work may go on.
pub(super) fn leave_alone() {
    ABANDONED.store(true, Ordering::Relaxed);
}

/// Whether a thread was left alone since the process began; it may run still.
pub(super) fn any_abandoned() -> bool {
    ABANDONED.load(Ordering::Relaxed)
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported to whoever asked for the work.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn thread() -> DeviceThread {
        DeviceThread::start("test", Modules::new(Device::Cpu, None, Arc::new([]))).unwrap()
    }

    #[test]
    fn a_panic_reaches_who_asked_and_the_thread_goes_on() {
        let thread = thread();
        let limit = Duration::from_secs(60);
        let answer = thread.call(limit, |_| -> u8 { panic!("a {} of 2 dimensions", "tensor") });
        assert!(matches!(answer, Err(NoAnswer::Panicked(message)) if message == "a tensor of 2 dimensions"));
        assert!(matches!(thread.call(limit, |_| 7), Ok(7)));
    }

    #[test]
    fn gradients_are_off_on_the_thread() {
        let on = thread().call(Duration::from_secs(60), |_| {
            let weight = tch::Tensor::zeros([1], (tch::Kind::Float, Device::Cpu)).set_requires_grad(true);
            (weight * 2.0).requires_grad()
        });
        assert!(matches!(on, Ok(false)));
    }

    #[test]
    fn work_that_is_late_is_left_alone_and_its_thread_ends_after_it() {
        let thread = thread();
        let (finish, wait) = mpsc::channel::<()>();
        let answer = thread.call(Duration::from_millis(1), move |_| wait.recv().is_err());
        assert!(matches!(answer, Err(NoAnswer::Late)));
        let alive = thread.abandon();
        assert_eq!(alive.strong_count(), 1);
        drop(finish);
        while alive.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
