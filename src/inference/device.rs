//! Which device runs the models.

use std::fmt;
use std::str::FromStr;

/// What the configuration asks for: `auto`, `cpu`, `cuda`, `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("«{text}» is not a device: auto, cpu, cuda or cuda:N");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
                Ok(Self::Cuda(number.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?))
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What was found of CUDA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaReport {
    /// `libtorch_cuda.so` beside the loaded libtorch, where there is one.
    pub library: Option<std::path::PathBuf>,
    /// Why it could not be loaded.
    pub load_error: Option<String>,
    /// CUDA devices that can be used.
    pub devices: usize,
}

impl fmt::Display for CudaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.library, &self.load_error, self.devices) {
            (None, ..) => f.write_str("no CUDA: this libtorch is for the CPU only"),
            (Some(library), Some(error), _) => write!(f, "no CUDA: {} cannot be loaded: {error}", library.display()),
            (Some(library), None, 0) => write!(f, "no CUDA device or driver ({} is loaded)", library.display()),
            (Some(_), None, count) => write!(f, "CUDA devices: {count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_and_write_the_same() {
        for (text, device) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:12", DeviceChoice::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:+1", "CPU"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
