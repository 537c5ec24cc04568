//! How long either side waits for the other.

use std::time::Duration;

/// Times after which an association is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// From the connection to the whole association request, and from our last word to the peer's closing (ARTIM, PS3.8
    /// section 9.1.5).
    pub artim: Duration,
    /// For one PDU that has begun, and for the next one of a message that has begun.
    pub read: Duration,
    /// For the peer to take what we send.
    pub write: Duration,
    /// Acceptor: between two messages.
    pub idle: Duration,
    /// Requestor: for a connection to be made.
    pub connect: Duration,
    /// Requestor: for the answer to a request, the one to the association request included.
    pub response: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            artim: Duration::from_secs(30),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            connect: Duration::from_secs(10),
            response: Duration::from_secs(120),
        }
    }
}

impl From<&crate::config::Association> for Timers {
    fn from(config: &crate::config::Association) -> Self {
        Self {
            artim: config.artim,
            read: config.read,
            write: config.write,
            idle: config.idle,
            connect: config.connect,
            response: config.response,
        }
    }
}

/// Which of them ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Expired {
    /// [`Timers::artim`].
    #[error("no association request came in time")]
    Artim,
    /// [`Timers::read`].
    #[error("the peer stopped in the middle of a message")]
    Read,
    /// [`Timers::write`].
    #[error("the peer takes nothing")]
    Write,
    /// [`Timers::idle`].
    #[error("the peer asked for nothing for too long")]
    Idle,
    /// [`Timers::connect`].
    #[error("the connection was not made in time")]
    Connect,
    /// [`Timers::response`].
    #[error("the peer did not answer in time")]
    Response,
}
