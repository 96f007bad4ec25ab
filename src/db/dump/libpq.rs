//! A connection as the environment of a program that uses libpq: passwords never stand on a command
//! line, where every user of the machine reads them.

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

use super::DumpError;

/// What libpq calls the parameters of a URL.
const PARAMETERS: [(&str, &str); 9] = [
    ("host", "PGHOST"),
    ("sslmode", "PGSSLMODE"),
    ("ssl-mode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("ssl-root-cert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("ssl-cert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("ssl-key", "PGSSLKEY"),
];

/// Puts a connection into a command's environment.
pub fn connect(command: &mut Command, options: &PgConnectOptions) -> Result<(), DumpError> {
    for (name, value) in variables(options)? {
        command.env(name, value);
    }
    Ok(())
}

fn variables(options: &PgConnectOptions) -> Result<Vec<(&'static str, String)>, DumpError> {
    let url = options.to_url_lossy();
    let mut variables = vec![
        ("PGHOST", options.get_host().to_owned()),
        ("PGPORT", options.get_port().to_string()),
        ("PGUSER", options.get_username().to_owned()),
        ("PGDATABASE", options.get_database().unwrap_or_default().to_owned()),
        ("PGAPPNAME", "bursar-backup".to_owned()),
    ];
    if let Some(password) = url.password() {
        let password = unescaped(password).ok_or(DumpError::Connection("the password"))?;
        variables.push(("PGPASSWORD", password));
    }
    for (name, value) in url.query_pairs() {
        if let Some((_, variable)) = PARAMETERS.iter().find(|(parameter, _)| *parameter == name) {
            variables.push((variable, value.into_owned()));
        }
    }
    if let Some(socket) = options.get_socket() {
        variables.push(("PGHOST", socket.display().to_string()));
    }
    Ok(variables)
}

/// A text of a URL without its percent signs.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.extend(hex::decode(digits).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(url: &str, name: &str) -> Option<String> {
        let options: PgConnectOptions = url.parse().unwrap();
        let all = variables(&options).unwrap();
        all.into_iter().rev().find(|(variable, _)| *variable == name).map(|(_, value)| value)
    }

    #[test]
    fn a_url_becomes_what_libpq_reads() {
        let url = "postgres://me:p%40ss%20%25@db.example:6543/books?sslmode=verify-full";
        for (name, value) in [
            ("PGHOST", "db.example"),
            ("PGPORT", "6543"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "p@ss %"),
            ("PGDATABASE", "books"),
            ("PGSSLMODE", "verify-full"),
        ] {
            assert_eq!(variable(url, name).as_deref(), Some(value), "{name}");
        }
        let socket = "postgres://me@%2Ftmp%2Fsocket/books";
        assert_eq!(variable(socket, "PGHOST").as_deref(), Some("/tmp/socket"));
        assert_eq!(variable(socket, "PGPASSWORD"), None);
    }
}
