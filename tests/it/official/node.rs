//! Node and npm: found, or installed with the system's own package manager.

use std::process::{Command, Stdio};

use bursar::db::managed::is_root;

/// What installs both, by package manager.
const MANAGERS: [(&str, &[&[&str]]); 5] = [
    ("apt-get", &[&["update", "-q"], &["install", "-y", "-q", "nodejs", "npm"]]),
    ("dnf", &[&["install", "-y", "nodejs", "npm"]]),
    ("apk", &[&["add", "nodejs", "npm"]]),
    ("pacman", &[&["-Sy", "--noconfirm", "nodejs", "npm"]]),
    ("brew", &[&["install", "node"]]),
];

/// Makes sure that both run.
pub fn ensure() {
    if runs("node") && runs("npm") {
        return;
    }
    let (manager, steps) = MANAGERS
        .into_iter()
        .find(|(manager, _)| runs(manager))
        .expect("Node 18 or later and npm are installed, or a package manager that has them");
    for step in steps {
        // Homebrew refuses to run as root, the others need it.
        let mut command = if manager == "brew" || is_root().unwrap() {
            Command::new(manager)
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", manager]);
            sudo
        };
        eprintln!("installing Node for the official x402 packages: {manager} {}", step.join(" "));
        let status = command.args(*step).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{manager} failed; install Node 18 or later and npm by hand");
    }
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
