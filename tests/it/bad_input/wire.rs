//! What is wrong with the request itself, whatever the operation: paths, methods and headers.

use super::ask::{Ask, Case, Part};
use super::world::World;

/// Paths that are none.
#[test]
fn paths_that_lead_nowhere() {
    crate::support::postgres::run(|db| async move {
        let world = World::start(db).await;
        let long = format!("/api/v1/{}", "x".repeat(6_000));
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v2/credits",
            "/api/v1/credits/",
            "//api/v1/credits",
            "/API/v1/credits",
            "/api/v1/credits%00",
            "/api/v1/credits%2f",
            "/api/v1/checkouts/../credits",
            "/api/v1/charges//reversals",
            "/%",
            "/%ff%fe",
            "/.env",
            "/llms.txt/x",
            long.as_str(),
        ] {
            for method in ["GET", "POST", "DELETE", "BREW"] {
                let ask = Ask::new(method, path).key(&world.customer.key);
                let case = Case::new("nowhere", ask, Part::Other, &["not_found"]);
                world.refused(None, &case).await;
            }
        }
        let head = world.send("HEAD", &Ask::new("HEAD", "/api/v1/nothing")).await;
        assert_eq!((head.status, &*head.body), (404, ""));
    });
}

/// Every path, asked with every method that it does not have.
#[test]
fn methods_that_a_path_does_not_have() {
    crate::support::postgres::run(|db| async move {
        let world = World::start(db).await;
        for (path, methods) in world.document.paths() {
            let mut allowed = methods.clone();
            if methods.iter().any(|method| method == "GET") {
                allowed.push("HEAD".to_owned());
            }
            allowed.push("OPTIONS".to_owned());
            allowed.sort();
            let path = world.fill(&path);
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
                if allowed.iter().any(|known| known == method) {
                    continue;
                }
                let ask = Ask::new(method, &path).key(&world.customer.key);
                let answer = world.send("method", &ask).await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert_eq!(answer.header("allow"), Some(&*allowed.join(", ")), "{method} {path}");
                if method != "HEAD" {
                    world.problem(&answer, &["method_not_allowed"]);
                }
            }
            let options = world.send("OPTIONS", &Ask::new("OPTIONS", &path)).await;
            assert_eq!(
                (options.status, options.header("allow")),
                (204, Some(&*allowed.join(", ")))
            );
        }
    });
}

/// Headers that say odd things are passed over or refused, and never break an answer.
#[test]
fn headers_of_every_kind() {
    crate::support::postgres::run(|db| async move {
        let world = World::start(db).await;
        let before = world.digest().await;
        let long = format!("X-Long: {}", "x".repeat(30_000));
        let many = vec!["X-Many: 1"; 60].join("\r\n");
        for line in [
            "Accept: text/html",
            "Accept: application/xml;q=0, */*;q=0",
            "Accept: ;;é",
            "Accept-Encoding: nonsense, gzip;q=7",
            "Accept-Language: é",
            "Accept-Charset: utf-16",
            "Range: bytes=9-1",
            "If-None-Match: \"",
            "If-Modified-Since: yesterday",
            "Origin: null",
            "Cookie: a=b; ;=;é",
            "Forwarded: for=\"_é\"",
            "X-Forwarded-For: é, 300.1.1.1",
            "Request-Id: <script>é</script>",
            "X-HTTP-Method-Override: DELETE",
            "Content-Length: 0",
            "Expect: nonsense",
            "Date: never",
            "PAYMENT-SIGNATURE: é",
            "SIGN-IN-WITH-X: é",
            long.as_str(),
            many.as_str(),
        ] {
            let path = "/api/v1/checkouts/chk_1";
            let ask = Ask::new("GET", path).key(&world.customer.key).header(line);
            let case = Case::new(line, ask, Part::Other, &["not_found"]);
            let problem = world.refused(None, &case).await;
            let instance = problem["instance"].as_str().unwrap();
            assert!(instance.starts_with("req_"), "{instance}");
        }
        assert_eq!(world.digest().await, before);
    });
}
