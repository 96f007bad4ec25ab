use clap::CommandFactory;
use clap::error::ErrorKind;

use super::{
    Admin, Backup, Check, Cli, Command, Demo, Export, ExportFormat, Key, KeyRole, Pay, Restore,
    Topup, TopupList, TopupResolve, TopupShow,
};
use crate::config::VARIABLES;

const ID: &str = "top_00000000000070008000000000000001";

fn read(line: &str) -> Result<Command, ErrorKind> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    Cli::read_from(words).map(|cli| cli.command).map_err(|error| error.kind())
}

#[test]
fn every_command_is_read() {
    let key = |role, skus: &[&str]| {
        let skus = skus.iter().map(|sku| (*sku).to_owned()).collect();
        Command::Admin(Admin::Key(Key { role, skus }))
    };
    let url = "http://127.0.0.1:8402/api/v1/credits/topup";
    let pay = |data: Option<&str>, max: &str| {
        let (data, max) = (data.map(str::to_owned), max.parse().unwrap());
        Command::Pay(Pay { url: url.to_owned(), data, max })
    };
    let restore = |file: Option<&str>, reason: Option<&str>, read_chain| {
        let (file, confirm) = (file.map(Into::into), reason.is_some());
        let reason = reason.map(str::to_owned);
        Command::Restore(Restore { file, confirm, reason, read_chain, confirmations: 12 })
    };
    let id = || ID.parse().unwrap();
    let ruled = |settled: Option<&str>, reason: Option<&str>| {
        let (settled, reason) = (settled.map(str::to_owned), reason.map(str::to_owned));
        let rejected = settled.is_none();
        Command::Topup(Topup::Resolve(TopupResolve { id: id(), settled, rejected, reason }))
    };
    for (line, command) in [
        ("bursar serve", Command::Serve),
        ("bursar demo", Command::Demo(Demo { exit: false })),
        ("bursar demo --exit", Command::Demo(Demo { exit: true })),
        ("bursar migrate", Command::Migrate),
        ("bursar openapi", Command::Openapi),
        ("bursar check", Command::Check(Check { incremental: false })),
        ("bursar check --incremental", Command::Check(Check { incremental: true })),
        ("bursar backup a.dump", Command::Backup(Backup { file: "a.dump".into() })),
        ("bursar restore a.dump", restore(Some("a.dump"), None, false)),
        ("bursar restore --confirm --reason checked", restore(None, Some("checked"), false)),
        ("bursar restore --read-chain", restore(None, None, true)),
        ("bursar export", Command::Export(Export { format: ExportFormat::Csv })),
        ("bursar export --format csv", Command::Export(Export { format: ExportFormat::Csv })),
        ("bursar export --format jsonl", Command::Export(Export { format: ExportFormat::Jsonl })),
        ("bursar admin key", key(KeyRole::Operator, &[])),
        ("bursar admin key --role verifier --sku a --sku b", key(KeyRole::Verifier, &["a", "b"])),
        ("bursar admin key --role fulfiller --sku a", key(KeyRole::Fulfiller, &["a"])),
        ("bursar topup list", Command::Topup(Topup::List(TopupList { parked: false }))),
        ("bursar topup list --parked", Command::Topup(Topup::List(TopupList { parked: true }))),
        (&format!("bursar topup show {ID}"), Command::Topup(Topup::Show(TopupShow { id: id() }))),
        (&format!("bursar topup resolve {ID} --settled 0x1"), ruled(Some("0x1"), None)),
        (
            &format!("bursar topup resolve {ID} --settled 0x1 --reason x"),
            ruled(Some("0x1"), Some("x")),
        ),
        (&format!("bursar topup resolve {ID} --rejected --reason x"), ruled(None, Some("x"))),
        (&format!("bursar pay {url}"), pay(None, "1.00")),
        (&format!("bursar pay {url} --data {{}} --max 5.00"), pay(Some("{}"), "5.00")),
    ] {
        assert_eq!(read(line), Ok(command), "{line}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    use ErrorKind::{
        ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument,
        UnknownArgument, ValueValidation,
    };
    for (line, kind) in [
        ("bursar start", InvalidSubcommand),
        ("bursar serve --port 1", UnknownArgument),
        ("bursar serve now", UnknownArgument),
        ("bursar export --format xml", InvalidValue),
        ("bursar admin key --role customer", InvalidValue),
        ("bursar admin key --role verifier", ArgumentConflict),
        ("bursar admin key --sku a", ArgumentConflict),
        ("bursar backup", MissingRequiredArgument),
        ("bursar restore", MissingRequiredArgument),
        ("bursar restore --confirm", MissingRequiredArgument),
        ("bursar restore --reason x", MissingRequiredArgument),
        ("bursar restore a.dump --confirm --reason x", ArgumentConflict),
        ("bursar restore a.dump --read-chain", ArgumentConflict),
        ("bursar restore a.dump --confirmations 3", ArgumentConflict),
        ("bursar restore a.dump --reason x", ArgumentConflict),
        ("bursar topup show top_1", ValueValidation),
        (&format!("bursar topup resolve {ID}"), MissingRequiredArgument),
        (&format!("bursar topup resolve {ID} --rejected"), MissingRequiredArgument),
        (&format!("bursar topup resolve {ID} --rejected --settled x"), ArgumentConflict),
        ("bursar pay", MissingRequiredArgument),
        ("bursar pay http://h --max 1e3", ValueValidation),
    ] {
        assert_eq!(read(line), Err(kind), "{line}");
    }
    assert_eq!(read("bursar"), Err(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand));
    assert_eq!(read("bursar topup"), Err(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand));
    assert_eq!(read("bursar admin"), Err(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand));
}

#[test]
fn the_definition_is_sound_and_everything_has_help() {
    Cli::command().debug_assert();
    let mut open = vec![Cli::command()];
    while let Some(command) = open.pop() {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            let documented = argument.get_help().is_some();
            assert!(documented, "{} {} has no help", command.get_name(), argument.get_id());
        }
        open.extend(command.get_subcommands().cloned());
    }
}

#[test]
fn the_help_of_serve_lists_every_variable_with_its_default() {
    let Err(error) = Cli::read_from(["bursar", "serve", "--help"]) else { panic!("no help") };
    let help = error.to_string();
    for variable in VARIABLES {
        let entry = help.split(&format!("  {}\n", variable.name)).nth(1);
        let entry = entry.unwrap_or_else(|| panic!("{} is not in the help", variable.name));
        let default = format!("[default: {}]", variable.default_text());
        assert!(entry.lines().take(2).any(|line| line.trim() == default), "{}", variable.name);
    }
}
