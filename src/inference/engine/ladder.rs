//! What is tried when memory runs out: a smaller batch, then sums on the host, then the CPU. Pure.

use std::fmt;

/// How a run goes about its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung {
    /// Windows in one call of a module.
    pub(super) batch: usize,
    /// Whether the scores of windows are added up in the memory of the host.
    pub(super) sums_on_host: bool,
    /// Whether the CPU runs it although the engine has another device.
    pub(super) on_cpu: bool,
}

/// What there is to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choices {
    /// Whether the engine's device has a memory of its own.
    pub(super) own_memory: bool,
    /// Whether a module runs over windows.
    pub(super) windows: bool,
}

impl Rung {
    /// As the manifest has it.
    pub(super) const fn first(batch: usize) -> Self {
        Self { batch, sums_on_host: false, on_cpu: false }
    }

    /// For a run that by its package's estimate does not fit its device: all that makes it smaller there.
    pub(super) const fn smallest(choices: Choices) -> Self {
        Self { batch: 1, sums_on_host: choices.own_memory && choices.windows, on_cpu: false }
    }

    /// What to try after the device had no room for the modules themselves.
    pub(super) const fn elsewhere(self, choices: Choices) -> Option<Self> {
        if !choices.own_memory || self.on_cpu {
            return None;
        }
        Some(Self { on_cpu: true, sums_on_host: false, ..self })
    }

    /// What to try after memory ran out on this one.
    pub(super) const fn next(self, choices: Choices) -> Option<Self> {
        if self.batch > 1 {
            return Some(Self { batch: self.batch / 2, ..self });
        }
        if choices.own_memory && choices.windows && !self.sums_on_host && !self.on_cpu {
            return Some(Self { sums_on_host: true, ..self });
        }
        self.elsewhere(choices)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}", self.batch)?;
        if self.sums_on_host {
            f.write_str(", sums on the host")?;
        }
        if self.on_cpu {
            f.write_str(", on the CPU")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(batch: usize, choices: Choices) -> Vec<String> {
        std::iter::successors(Some(Rung::first(batch)), |rung| rung.next(choices))
            .map(|rung| rung.to_string())
            .collect()
    }

    #[test]
    fn every_rung_asks_for_less_and_the_last_one_is_the_cpu() {
        assert_eq!(
            all(6, Choices { own_memory: true, windows: true }),
            ["batch 6", "batch 3", "batch 1", "batch 1, sums on the host", "batch 1, on the CPU"]
        );
        assert_eq!(all(1, Choices { own_memory: true, windows: false }), ["batch 1", "batch 1, on the CPU"]);
        assert_eq!(all(4, Choices { own_memory: false, windows: true }), ["batch 4", "batch 2", "batch 1"]);
    }

    #[test]
    fn what_cannot_be_loaded_goes_to_the_cpu_at_once_and_what_is_too_large_begins_small() {
        let device = Choices { own_memory: true, windows: true };
        let elsewhere = Rung::first(4).elsewhere(device).unwrap();
        assert_eq!(elsewhere.to_string(), "batch 4, on the CPU");
        assert_eq!(elsewhere.elsewhere(device), None);
        assert_eq!(Rung::smallest(device).to_string(), "batch 1, sums on the host");
        assert_eq!(Rung::smallest(device).next(device).unwrap().to_string(), "batch 1, on the CPU");
        let host = Choices { own_memory: false, windows: true };
        assert_eq!((Rung::first(4).elsewhere(host), Rung::smallest(host)), (None, Rung::first(1)));
    }
}
