//! The binary: reads arguments and settings, starts logging, and hands over to the library.

use std::process::ExitCode;

use bursar::cli::{Cli, Command};
use bursar::config::Settings;
use bursar::{http, telemetry};

fn main() -> ExitCode {
    let cli = Cli::from_args();
    if let Command::Openapi = cli.command {
        print!("{}", http::api_document_json());
        return ExitCode::SUCCESS;
    }
    match start() {
        Ok(settings) => {
            tracing::error!(command = ?cli.command, mode = %settings.mode, "no command runs yet");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bursar: {error}");
            ExitCode::from(2)
        }
    }
}

fn start() -> Result<Settings, Box<dyn std::error::Error>> {
    let settings = Settings::from_env()?;
    telemetry::init(&settings.log)?;
    Ok(settings)
}
