//! Which methods each path has, read from the generated document, so that the server and the
//! document cannot differ.

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, web};
use utoipa::openapi::OpenApi;

use crate::http::openapi::operations;
use crate::http::{Code, Problem};

/// Every path and its methods.
#[derive(Debug)]
pub struct RouteTable(Vec<Route>);

#[derive(Debug)]
struct Route {
    path: ResourceDef,
    methods: Vec<Method>,
}

impl RouteTable {
    /// The routes of a document.
    pub fn of(document: &OpenApi) -> Self {
        let routes = document.paths.paths.iter().map(|(path, item)| Route {
            path: ResourceDef::new(path.as_str()),
            methods: operations(item).map(|(method, _)| method).collect(),
        });
        Self(routes.collect())
    }

    /// The methods of a path, as an `Allow` header; `None` when there is no such path.
    pub fn allow(&self, path: &str) -> Option<String> {
        let mut methods: Vec<&str> = Vec::new();
        for route in self.0.iter().filter(|route| route.path.is_match(path)) {
            methods.extend(route.methods.iter().map(Method::as_str));
        }
        if methods.is_empty() {
            return None;
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        Some(methods.join(", "))
    }
}

/// The answer to what no handler took: an unknown path, or a known one with another method.
pub async fn no_route(request: HttpRequest, routes: web::Data<RouteTable>) -> Problem {
    let (method, path) = (request.method(), request.path());
    match routes.allow(path) {
        Some(allow) if !allow.split(", ").any(|known| known == method.as_str()) => {
            let detail = format!("{path} answers {allow}");
            let value = HeaderValue::from_str(&allow).expect("method names are header values");
            Problem::new(Code::MethodNotAllowed).detail(detail).header(header::ALLOW, value)
        }
        Some(_) | None => Problem::new(Code::NotFound).detail(format!("no such path: {path}")),
    }
}
