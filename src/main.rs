//! The binary: reads the arguments and hands over to the library.

use std::process::ExitCode;

use bursar::cli::{self, Cli};

/// A request makes and drops many small values on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_args();
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else in this process installs a TLS provider");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli::run(cli.command)),
        Err(error) => {
            eprintln!("bursar: the runtime did not start: {error}");
            ExitCode::FAILURE
        }
    }
}
