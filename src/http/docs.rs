//! The page for people: every route and every error code, in one file that loads nothing else.

use std::fmt::Write;

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::http::Code;
use crate::http::escape::escape;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
h2{margin-top:2.5rem}h3{margin:1.5rem 0 .25rem}code,pre{font:14px/1.4 ui-monospace,monospace}\
pre{background:#f4f4f4;padding:.75rem;overflow-x:auto}table{border-collapse:collapse;width:100%}\
td,th{border-bottom:1px solid #ddd;padding:.4rem;text-align:left;vertical-align:top}\
.method{display:inline-block;min-width:3.5rem;font-weight:bold}p{margin:.25rem 0}\
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}pre{background:#222}\
td,th{border-color:#333}a{color:#8ab4f8}}";

/// The page, made once from the served document.
#[derive(Clone, Debug)]
pub struct DocsPage(Bytes);

impl DocsPage {
    /// The page of a document.
    pub fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        Self(Bytes::from(page(&document)))
    }
}

/// This API, for people
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "HTML", body = String, content_type = "text/html"),
))]
#[get("/docs")]
pub async fn show_docs(page: web::Data<DocsPage>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        ))
        .body(page.0.clone())
}

fn page(document: &Value) -> String {
    let info = &document["info"];
    let mut html = String::new();
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{about}</p>\
         <p><a href=\"/openapi.json\">OpenAPI</a> · <a href=\"/llms.txt\">llms.txt</a> · \
         <a href=\"#errors\">Errors</a></p>",
        title = escape(text(&info["title"])),
        about = escape(text(&info["description"])),
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        write_tag(&mut html, document, text(&tag["name"]), text(&tag["description"]));
    }
    write_errors(&mut html);
    html.push_str("</body></html>\n");
    html
}

/// The routes of one tag.
fn write_tag(html: &mut String, document: &Value, name: &str, about: &str) {
    let mut routes = String::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let tags = operation["tags"].as_array().into_iter().flatten();
            if tags.into_iter().any(|tag| tag == name) {
                write_operation(&mut routes, document, &method.to_uppercase(), path, operation);
            }
        }
    }
    if !routes.is_empty() {
        let (id, about) = (escape(name), escape(about));
        let _ = write!(html, "<h2 id=\"{id}\">{about}</h2>{routes}");
    }
}

fn write_operation(out: &mut String, document: &Value, method: &str, path: &str, of: &Value) {
    // An empty alternative says that it works without a key, too.
    let key = match of["security"].as_array() {
        Some(ways) if ways.iter().any(|way| way.as_object().is_some_and(|way| way.is_empty())) => {
            " · takes an API key"
        }
        Some(_) => " · needs an API key",
        None => "",
    };
    let _ = write!(
        out,
        "<h3><span class=\"method\">{method}</span> <code>{}</code></h3><p>{}{key}</p>",
        escape(path),
        escape(text(&of["summary"])),
    );
    if let Some(about) = of["description"].as_str() {
        let _ = write!(out, "<p>{}</p>", escape(about));
    }
    let parameters = of["parameters"].as_array().into_iter().flatten();
    for parameter in parameters {
        let _ = write!(
            out,
            "<p><code>{}</code> ({}) {}</p>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            escape(text(&parameter["description"])),
        );
    }
    let schema = &of["requestBody"]["content"]["application/json"]["schema"];
    if let Some(example) = example_of(document, schema) {
        let json = serde_json::to_string_pretty(example).unwrap_or_default();
        let _ = write!(out, "<pre>{}</pre>", escape(&json));
    }
    let statuses: Vec<_> =
        of["responses"].as_object().into_iter().flatten().map(|(s, _)| s.as_str()).collect();
    let _ = write!(out, "<p>Answers {}.</p>", escape(&statuses.join(", ")));
}

/// The example of a schema, which may stand behind a reference or among alternatives.
fn example_of<'a>(document: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    if let Some(example) = schema.get("example").or_else(|| schema["examples"].get(0)) {
        return Some(example);
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        return alternatives.iter().find_map(|one| example_of(document, one));
    }
    let pointer = schema["$ref"].as_str()?.strip_prefix('#')?;
    let target = document.pointer(pointer)?;
    target.get("example").or_else(|| target["examples"].get(0))
}

/// Every code, with an anchor that problems point to.
fn write_errors(html: &mut String) {
    html.push_str(
        "<h2 id=\"errors\">Errors</h2><p>Every error is <code>application/problem+json</code> \
         (RFC 9457). Branch on <code>code</code>, follow <code>next</code>.</p>\
         <table><tr><th>Code</th><th>Status</th><th>Again?</th><th>What to do</th></tr>",
    );
    for code in Code::ALL {
        let facts = code.facts();
        let again = if facts.retryable { "yes" } else { "no" };
        let _ = write!(
            html,
            "<tr id=\"error-{code}\"><td><code>{code}</code></td><td>{status}</td>\
             <td>{again}</td><td>{title}. {hint}</td></tr>",
            code = facts.code,
            status = facts.status,
            title = escape(facts.title),
            hint = escape(facts.hint),
        );
    }
    html.push_str("</table>");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_loads_nothing_and_escapes_everything() {
        let document = json!({
            "info": {"title": "<b>", "description": "\"x\" & 'y'"},
            "tags": [{"name": "t", "description": "Tag"}],
            "paths": {"/a": {"get": {
                "tags": ["t"], "summary": "<script>", "responses": {"200": {}},
            }}},
        });
        let html = page(&document);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(html.contains("&quot;x&quot; &amp; &#39;y&#39;"), "{html}");
        assert!(!html.contains("src=") && !html.contains("http://") && !html.contains("https://"));
    }

    #[test]
    fn every_code_has_its_anchor() {
        let html = page(&json!({}));
        for code in Code::ALL {
            assert!(html.contains(&format!("id=\"error-{}\"", code.as_str())), "{code:?}");
        }
    }
}
