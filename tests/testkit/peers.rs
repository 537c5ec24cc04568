//! Other people's programs: they judge what overread writes, and talk to it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The Debian package that each program comes in; `scripts/debian_packages.sh` installs them.
const PACKAGES: [(&str, &str); 11] = [
    ("dcmdump", "dcmtk"),
    ("dcmsend", "dcmtk"),
    ("dsrdump", "dcmtk"),
    ("echoscu", "dcmtk"),
    ("findscu", "dcmtk"),
    ("storescp", "dcmtk"),
    ("storescu", "dcmtk"),
    ("dciodvfy", "dicom3tools"),
    ("dcentvfy", "dicom3tools"),
    ("gdcmscu", "libgdcm-tools"),
    ("Orthanc", "orthanc"),
];

/// How long a test waits for what must happen, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a program printed, both streams together, and whether it ended well.
pub(crate) struct Judgement {
    pub(crate) text: String,
    pub(crate) success: bool,
}

/// Runs a program of Debian's `dcmtk`, `dicom3tools` or `libgdcm-tools`. GDCM's take the character set of what they are given from
/// the locale, so they get one.
pub(crate) fn judge(program: &str, arguments: &[impl AsRef<OsStr>]) -> Judgement {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap_or_else(|e| missing(program, &e));
    judgement(&output)
}

/// Runs a script of `tests/python` in the project's virtual environment.
pub(crate) fn python(script: &str, arguments: &[impl AsRef<OsStr>]) -> Judgement {
    let output = Command::new(python_program())
        .arg(root().join("tests/python").join(script))
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("the virtual environment is made by `make test`: {e}"));
    judgement(&output)
}

/// Lines that report an error, not a warning.
pub(crate) fn errors(judgement: &Judgement) -> Vec<&str> {
    judgement.text.lines().filter(|line| line.starts_with("Error") || line.starts_with("E:")).collect()
}

/// The interpreter of the project's virtual environment.
pub(crate) fn python_program() -> PathBuf {
    root().join(".tools/venv/bin/python")
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A program that serves while a test runs, and ends with it.
pub(crate) struct Server(pub(crate) Child);

impl Server {
    /// Starts it; what it prints goes into a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let out = std::fs::File::create(log).unwrap();
        let err = out.try_clone().unwrap();
        let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Self(started.unwrap_or_else(|e| missing(&command.get_program().to_string_lossy(), &e)))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port on which nobody listens, below those that the kernel gives to outgoing connections, and given once.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (0..2_000)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Asks until the answer is there.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {} seconds", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Asks until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    let package = PACKAGES.iter().find(|(name, _)| *name == program);
    let hint = package.map_or_else(String::new, |(_, package)| format!(" (Debian package {package})"));
    panic!("{program} must be installed{hint}: {error}")
}

fn judgement(output: &Output) -> Judgement {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Judgement { text, success: output.status.success() }
}
