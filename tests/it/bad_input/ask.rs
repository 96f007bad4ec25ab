//! A request as it goes over the wire, and what is expected of its answer.

use serde_json::Value;

/// A request, with each header line as it is sent.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

/// Which part of the request is wrong. An unpaid top-up looks at its body alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Body,
    Other,
}

/// A bad request and the codes of which its problem must have one.
#[derive(Clone, Debug)]
pub struct Case {
    pub what: String,
    pub ask: Ask,
    pub part: Part,
    pub codes: Vec<&'static str>,
    /// What the problem's `field` must begin with.
    pub field: Option<String>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// Without the headers of that name.
    pub fn without(mut self, name: &str) -> Self {
        let named = |line: &String| {
            line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        self.headers.retain(|line| !named(line));
        self
    }

    /// With this header line instead of those of the same name.
    pub fn replace(self, line: &str) -> Self {
        let name = line.split(':').next().unwrap().to_owned();
        self.without(&name).header(line)
    }

    pub fn key(self, key: &str) -> Self {
        self.replace(&format!("Authorization: Bearer {key}"))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.replace("Content-Type: application/json").body(body.to_string())
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Case {
    pub fn new(what: impl Into<String>, ask: Ask, part: Part, codes: &[&'static str]) -> Self {
        Self { what: what.into(), ask, part, codes: codes.to_vec(), field: None }
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// Shows the request at hand when the test fails.
pub struct Shown<'a>(pub &'a str, pub &'a Ask);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(what, Ask { method, path, headers, body }) = self;
            let body: String = String::from_utf8_lossy(body).chars().take(600).collect();
            eprintln!("at {what}: {method} {path:.300} {headers:.300?} {body:?}");
        }
    }
}
