//! The server: sockets, time limits and the order of the middleware.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::net::TcpSocket;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::ground::Entropy;
use crate::http::HttpSettings;
use crate::http::docs::DocsPage;
use crate::http::middleware::{Shared, envelope, limit_in_flight, limit_rate, read_body};
use crate::http::openapi::{self, OpenApiJson, openapi_json};
use crate::http::routes::{RouteTable, no_route};

/// How many connections may wait to be accepted. The 128 of the standard library are used up when a few
/// hundred clients connect at once, and the others then try again a second later.
const BACKLOG: u32 = 1024;

/// Listens on an address, for [`serve`].
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library does: connections of a server before this one may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves the routes that `configure` adds, on a listener that the caller has bound.
///
/// The server runs while the returned future is awaited or spawned. It ignores signals: the caller
/// stops it through [`Server::handle`], because other parts stop after it. A graceful stop lets
/// requests finish for `shutdown_timeout`.
pub fn serve<C>(
    listener: TcpListener,
    settings: HttpSettings,
    entropy: Arc<dyn Entropy>,
    configure: C,
) -> io::Result<Server>
where
    C: Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static,
{
    let server_settings = settings.clone();
    let shared = web::Data::new(Shared::new(settings, entropy));
    let server = HttpServer::new(move || {
        let app = App::new().app_data(shared.clone()).into_utoipa_app().openapi(openapi::base());
        let (app, document) =
            app.service(openapi_json).configure(configure.clone()).split_for_parts();
        let document = openapi::complete(document);
        app.app_data(web::Data::new(RouteTable::of(&document)))
            .app_data(web::Data::new(OpenApiJson::of(&document)))
            .app_data(web::Data::new(DocsPage::of(&document)))
            .default_service(web::to(no_route))
            // The last one is the outermost.
            .wrap(from_fn(limit_in_flight))
            .wrap(from_fn(limit_rate))
            .wrap(from_fn(read_body))
            .wrap(from_fn(envelope))
    });
    let HttpSettings { head_timeout, keep_alive, shutdown_timeout, .. } = server_settings;
    let server = server
        .client_request_timeout(head_timeout)
        .client_disconnect_timeout(head_timeout)
        .keep_alive(keep_alive)
        .shutdown_timeout(shutdown_timeout.as_secs().max(1))
        .max_connections(server_settings.connections_max)
        .disable_signals();
    let server = match server_settings.workers {
        Some(workers) => server.workers(workers.max(1)),
        None => server,
    };
    Ok(server.listen(listener)?.run())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::time::Duration;

    use super::listen;

    #[tokio::test]
    async fn hundreds_may_connect_before_anyone_is_accepted() {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen(any_port).expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(2));
        let all: Result<Vec<_>, _> = (0..512).map(|_| connect()).collect();
        assert_eq!(all.expect("each finds room in the queue").len(), 512);
    }
}
