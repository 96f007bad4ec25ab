//! What commands print: results on standard output, and why something failed on standard error.

use std::error::Error;
use std::io::{self, ErrorKind, Write};

/// Nobody reads standard output any more, as with `bursar export | head`.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct Unread;

/// The exit code when nobody reads on, as shells count SIGPIPE.
pub(super) const UNREAD: u8 = 128 + 13;

/// Writes a result, whole or not at all: one that is cut off must not look like a success.
pub(super) fn print(bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Unread.into()),
        Err(error) => Err(error.into()),
    }
}

/// Tells whoever is listening, which may be nobody: the demo goes on without an audience.
macro_rules! tell {
    ($($words:tt)*) => {
        // Telling is all that is lost.
        let _ = ::std::io::Write::write_fmt(
            &mut ::std::io::stdout(),
            format_args!("{}\n", format_args!($($words)*)),
        );
    };
}
pub(super) use tell;

/// An error with its causes, as one text.
pub(super) fn described(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        let words = because.to_string();
        // Some libraries repeat their causes.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = because.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn causes_are_said_once() {
        let link = |words, cause| Link(words, cause);
        let root = link("connection refused", None);
        let middle = link("cannot connect: connection refused", Some(Box::new(root)));
        let top = link("the database cannot be reached", Some(Box::new(middle)));
        let text = "the database cannot be reached: cannot connect: connection refused";
        assert_eq!(described(&top), text);
    }
}
