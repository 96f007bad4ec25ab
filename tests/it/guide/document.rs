//! What `llms.txt` consists of: requests with their answers, and named parts to make or to read.

use serde_json::Value;

/// One thing that the guide shows, and the line it begins on.
#[derive(Debug)]
pub struct Step {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    /// A request and what it is answered.
    Example { request: Request, response: Response },
    /// A JSON or text part with a name: `json payment` is what `{payment}` is made of.
    Part { name: String, text: String },
}

#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// It is repeated until the answer is the documented one.
    pub poll: bool,
}

impl Request {
    /// Whether a payment comes with it.
    pub fn pays(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, _)| ["PAYMENT-SIGNATURE", "X-PAYMENT"].contains(&name.as_str()))
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Option<Body>,
}

#[derive(Debug)]
pub enum Body {
    Json(Value),
    /// The first lines of another text.
    Lines(String),
}

/// A fenced block.
struct Block<'a> {
    line: usize,
    info: &'a str,
    text: String,
}

/// Reads the guide, or says which line cannot be read.
pub fn read(guide: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut blocks = blocks(guide)?.into_iter();
    while let Some(Block { line, info, text }) = blocks.next() {
        let at = |fault: String| format!("llms.txt:{line}: {fault}");
        let kind = match info.split_once(' ').unwrap_or((info, "")) {
            ("http", poll @ ("" | "poll")) => {
                let request = request(&text, !poll.is_empty()).map_err(at)?;
                let answer = blocks.next().filter(|next| next.info == "http");
                let answer = answer.ok_or_else(|| at("this request has no answer".to_owned()))?;
                let response = response(&answer.text)
                    .map_err(|fault| format!("llms.txt:{}: {fault}", answer.line))?;
                Kind::Example { request, response }
            }
            ("json" | "text", name) if !name.is_empty() => {
                Kind::Part { name: name.to_owned(), text }
            }
            // Source code of others' clients is for reading.
            ("js", "") => continue,
            _ => return Err(at(format!("no block can be ```{info}"))),
        };
        steps.push(Step { line, kind });
    }
    Ok(steps)
}

fn blocks(guide: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (n, line) in guide.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                blocks.push(Block { line: n + 1, info, text: String::new() });
                open = true;
            }
            (Some(""), true) => open = false,
            (Some(_), true) => return Err(format!("llms.txt:{}: a block inside a block", n + 1)),
            (None, true) => {
                let block = blocks.last_mut().ok_or("a line of no block")?;
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    if open { Err("the last block has no end".to_owned()) } else { Ok(blocks) }
}

/// The first line, the headers, and the body after the empty line.
type Parts<'a> = (&'a str, Vec<(String, String)>, Option<&'a str>);

fn parts(text: &str) -> Result<Parts<'_>, String> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().ok_or("an empty block")?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or(format!("no header: {line}"))?;
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(format!("no header: {line}"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let body = body.trim();
    Ok((first, headers, (!body.is_empty()).then_some(body)))
}

fn request(text: &str, poll: bool) -> Result<Request, String> {
    let (line, headers, body) = parts(text)?;
    let (method, path) = line.split_once(' ').ok_or(format!("no request line: {line}"))?;
    if !["GET", "POST", "PUT"].contains(&method) || !path.starts_with('/') || path.contains(' ') {
        return Err(format!("no request line: {line}"));
    }
    if let Some(body) = body {
        serde_json::from_str::<Value>(body).map_err(|error| format!("the body: {error}"))?;
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    Ok(Request { method, path, headers, body: body.map(str::to_owned), poll })
}

fn response(text: &str) -> Result<Response, String> {
    let (line, headers, body) = parts(text)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|status| status.parse().ok());
    let status = status.ok_or(format!("no status line: {line}"))?;
    let is_type = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
    let json = headers.iter().find(is_type).is_none_or(|(_, value)| value.contains("json"));
    let body = match body {
        None => None,
        Some(body) if json => {
            let value = serde_json::from_str(body).map_err(|error| format!("the body: {error}"))?;
            Some(Body::Json(value))
        }
        Some(body) => Some(Body::Lines(body.to_owned())),
    };
    Ok(Response { status, headers, body })
}

/// The guide without its blocks.
pub fn prose(guide: &str) -> String {
    let mut open = false;
    let outside = guide.lines().filter(|line| {
        let fence = line.starts_with("```");
        open ^= fence;
        !open && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The rows of the table under a heading: the texts of their cells.
pub fn table<'a>(guide: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let start = format!("\n## {heading}\n");
    let section = guide.split_once(&start).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or("");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.skip(1).map(|row| row.split(" | ").collect()).collect()
}
