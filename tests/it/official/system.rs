//! Programs of the system that official packages need: found, or installed with the system's own
//! package manager.

use std::process::{Command, Stdio};

use bursar::db::managed::is_root;

/// Something to install: what it is for people, whether it is there, and its packages by manager.
struct Need {
    name: &'static str,
    is_there: fn() -> bool,
    packages: [(&'static str, &'static [&'static str]); 5],
}

const NODE: Need = Need {
    name: "Node 18 or later and npm",
    is_there: || runs("node", &["--version"]) && runs("npm", &["--version"]),
    packages: [
        ("apt-get", &["nodejs", "npm"]),
        ("dnf", &["nodejs", "npm"]),
        ("apk", &["nodejs", "npm"]),
        ("pacman", &["nodejs", "npm"]),
        ("brew", &["node"]),
    ],
};

const PYTHON: Need = Need {
    name: "Python 3.10 or later with pip and venv",
    is_there: || {
        let asks = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
        runs("python3", &["-c", asks])
    },
    packages: [
        ("apt-get", &["python3", "python3-venv"]),
        ("dnf", &["python3", "python3-pip"]),
        ("apk", &["python3", "py3-pip"]),
        ("pacman", &["python", "python-pip"]),
        ("brew", &["python"]),
    ],
};

/// Makes sure that Node and npm run.
pub fn ensure_node() {
    ensure(&NODE);
}

/// Makes sure that Python runs and can make environments.
pub fn ensure_python() {
    ensure(&PYTHON);
}

fn ensure(need: &Need) {
    if (need.is_there)() {
        return;
    }
    let found = need.packages.into_iter().find(|(manager, _)| runs(manager, &["--version"]));
    let (manager, packages) = found.unwrap_or_else(|| {
        panic!("install {}: there is no package manager that has it", need.name)
    });
    let install: &[&[&str]] = match manager {
        "apt-get" => &[&["update", "-q"], &["install", "-y", "-q"]],
        "apk" => &[&["add"]],
        "pacman" => &[&["-Sy", "--noconfirm"]],
        "dnf" => &[&["install", "-y"]],
        _ => &[&["install"]],
    };
    for (turn, step) in install.iter().enumerate() {
        // Homebrew refuses to run as root, the others need it.
        let mut command = if manager == "brew" || is_root().unwrap() {
            Command::new(manager)
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", manager]);
            sudo
        };
        command.args(*step);
        if turn + 1 == install.len() {
            command.args(packages);
        }
        eprintln!("installing {} for the official x402 packages: {command:?}", need.name);
        let status = command.stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{manager} failed; install {} by hand", need.name);
    }
    assert!((need.is_there)(), "{manager} has no {}; install it by hand", need.name);
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
