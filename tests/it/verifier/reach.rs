use serde_json::json;

use super::{QUICK, Scene, register};
use crate::support::postgres::run;
use crate::support::service::Service;
use crate::webhooks::receiver::Receiver;

#[test]
fn private_addresses_are_not_called_unless_the_operator_says_so() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        for url in ["http://10.0.0.1/", "http://169.254.169.254/latest", "ftp://a.example/", ""] {
            let (status, problem) = register(&scene.service, url).await;
            assert_eq!((status, &problem["field"]), (422, &json!("url")), "{url}: {problem}");
        }
        let all = [&QUICK[..], &[("BURSAR_VERIFIER_ADDRESSES", "private")]].concat();
        let generous = Service::start(&db, &all);
        assert_eq!(register(&generous, "http://10.0.0.1/").await.0, 201);
        assert_eq!(register(&generous, "http://169.254.169.254/").await.0, 422);
    });
}

/// A name is looked up when it is called, and may lead to this machine by then.
#[test]
fn a_name_of_a_private_address_is_not_called() {
    run(|db| async move {
        let receiver = Receiver::start().await;
        let none = [&QUICK[..], &[("BURSAR_VERIFIER_ADDRESSES", "none")]].concat();
        let first = Service::start(&db, &none);
        let url = receiver.url.replace("127.0.0.1", "localhost");
        assert_eq!(register(&first, &receiver.url).await.0, 422);
        let (status, verifier) = register(&first, &url).await;
        assert_eq!(status, 201, "{verifier}");
        let scene = Scene::over(first, receiver, verifier, 2).await;
        let checkout = scene.deliver(&[1]).await;
        let settled = scene.settled(&checkout).await;
        let call = &settled["results"][0]["last_call"];
        let why = "not called: the address is not one that may be called";
        assert_eq!((&call["unknown"], &call["status"]), (&json!(why), &json!(null)));
        assert_eq!(settled["released"], "0.10");
        assert!(scene.receiver.calls().is_empty());
    });
}
