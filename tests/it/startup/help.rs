//! What the binary says about itself.

use bursar::config::VARIABLES;

use super::process::Bursar;

#[tokio::test]
async fn help_is_everywhere() {
    let commands: [&[&str]; 11] = [
        &[],
        &["serve"],
        &["demo"],
        &["migrate"],
        &["openapi"],
        &["admin"],
        &["admin", "key"],
        &["export"],
        &["check"],
        &["pay"],
        &["help"],
    ];
    let top = Bursar::new(&["--help"]).run().await.succeeded().out;
    for command in commands {
        let help = match command {
            ["help"] => Bursar::new(&["help"]).run().await,
            _ => Bursar::new(&[command, &["--help"]].concat()).run().await,
        };
        let help = help.succeeded();
        assert!(help.out.contains("Usage: bursar"), "{command:?}: {}", help.out);
        assert!(help.out.contains("--help"), "{command:?}: {}", help.out);
        assert_eq!(help.err, "", "{command:?}");
        if let [name] = command {
            assert!(top.contains(&format!("\n  {name} ")), "{name} is not listed:\n{top}");
        }
    }
    let version = Bursar::new(&["--version"]).run().await.succeeded();
    assert_eq!(version.out, format!("bursar {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_help_of_serve_has_every_setting() {
    let help = Bursar::new(&["serve", "--help"]).run().await.succeeded().out;
    for variable in VARIABLES {
        let entry = help.split(&format!("\n  {}\n", variable.name)).nth(1);
        let entry = entry.unwrap_or_else(|| panic!("{} is missing:\n{help}", variable.name));
        let mut lines = entry.lines().map(str::trim);
        assert_eq!(lines.next(), Some(variable.meaning));
        let default = format!("[default: {}]", variable.default_text());
        assert_eq!(lines.next(), Some(default.as_str()), "{}", variable.name);
    }
}

#[tokio::test]
async fn without_a_command_it_shows_the_help_and_fails() {
    let ended = Bursar::new(&[]).run().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("Usage: bursar"), "{}", ended.err);
    let ended = Bursar::new(&["serv"]).run().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("'serve'"), "{}", ended.err);
}
